# Channels of the four stages, by size: what necks and heads take in (V1 and V2 alike).
stage_channels = dict(
    tiny=[96, 192, 384, 768],
    base=[128, 256, 512, 1024],
    large=[192, 384, 768, 1536],
    xlarge=[256, 512, 1024, 2048],
    huge=[352, 704, 1408, 2816],
)
