"""The old place of words for blocks, until their users import them from configs.names."""

from configs.names import even_blocks as even_blocks
from configs.names import scaled_block as scaled_block
