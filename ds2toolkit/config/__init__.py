"""Every setting, as frozen dataclasses with units in the names; YAML comes in, an unknown key is an error."""

from ds2toolkit.config.model import ConvConfig, ModelConfig
from ds2toolkit.config.recipe import (
    FeatureConfig,
    LmConfig,
    RecipeConfig,
    SearchConfig,
    SplitConfig,
    VocabularyConfig,
)
from ds2toolkit.config.train import BatchConfig, NoiseConfig, OptimiserConfig, SpecAugmentConfig, TrainConfig
from ds2toolkit.config.yaml import check_keys, from_dict, merge, override, read_yaml, to_dict

__all__ = [
    "BatchConfig", "ConvConfig", "FeatureConfig", "LmConfig", "ModelConfig", "NoiseConfig", "OptimiserConfig",
    "RecipeConfig", "SearchConfig", "SpecAugmentConfig", "SplitConfig", "TrainConfig", "VocabularyConfig",
    "check_keys", "from_dict", "merge", "override", "read_yaml", "to_dict",
]  # fmt: skip
