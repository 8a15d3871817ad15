_base_ = "./ade20k.py"

# With --tta, as published for ConvNeXt V2 (appendix A.4): 0.75 to 1.25 times 2048x512.
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0] = [
    dict(type="Resize", scale=(int(2048 * ratio), int(512 * ratio)), keep_ratio=True)
    for ratio in (0.75, 0.875, 1.0, 1.125, 1.25)
]
