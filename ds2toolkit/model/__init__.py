"""The network of Deep Speech 2 and its CTC loss."""
