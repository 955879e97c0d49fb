"""A comparison as one HTML file that a person would rather read: no network, light and dark, with audio."""
