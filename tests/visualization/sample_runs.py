"""Work directories as mmengine leaves them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = """\
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP', type='CheckpointHook'))
model = dict(backbone=dict(arch='atto', type='mmconvnext.ConvNeXt'), type='CascadeRCNN')
optim_wrapper = dict(
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    optimizer=dict(betas=(
        0.9,
        0.999,
    ), lr=0.0002, type='AdamW', weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise'),
    type='AmpOptimWrapper')
train_cfg = dict(max_epochs=3, type='EpochBasedTrainLoop', val_interval=1)
"""

LOG = """\
2026/01/31 12:00:00 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11 <script>window.harmed = 4</script>

Runtime environment:
    seed: 0
------------------------------------------------------------

2026/01/31 12:00:01 - mmengine - INFO - Config:
model = dict()
2026/01/31 12:00:02 - mmengine - INFO - Command line: mmconvnext train 'my <b>.py' --seed 0
2026/01/31 12:00:09 - mmengine - INFO - Epoch(train)  [1][ 20/100]  lr: 1.0e-04  loss: 1.0
2026/01/31 12:00:10 - mmengine - INFO - per class results:
2026/01/31 12:00:10 - mmengine - INFO -
+-------------+-------+-------+
|    Class    |  IoU  |  Acc  |
+-------------+-------+-------+
|     sky     | 81.25 | 90.0  |
| a|b <script>window.harmed = 3</script> | 12.5 |  nan  |
+-------------+-------+-------+
"""


def training(step: int, **values: float) -> dict:
    entry = {"lr": 1e-4, "loss": 100.0 / step, "loss_cls": 60.0 / step, "time": 0.5, "memory": 900}
    return {**entry, **values, "epoch": (step - 1) // 100 + 1, "iter": step, "step": step}


def write_start(
    folder: Path, stamp: str, entries: list[dict], log: str = LOG, cut: str = ""
) -> None:
    place = folder / stamp
    (place / "vis_data").mkdir(parents=True)
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (place / "vis_data" / "scalars.json").write_text(lines + cut)
    (place / "vis_data" / "config.py").write_text(CONFIG)
    (place / f"{stamp}.log").write_text(log)


def write_run(folder: Path, shift: float = 0.0) -> Path:
    """Two starts: the first was cut off, the second did some of it again."""
    first = [training(step, loss=3.0 + shift) for step in range(20, 181, 20)]
    first.insert(
        5,
        {
            "coco/bbox_mAP": 0.25 + shift / 10,
            "coco/bbox_mAP_l": -1.0,
            "time": 9.0,
            "coco/dog <script>window.harmed = 5</script>_precision": 0.5,
            "step": 1,
        },
    )
    write_start(folder, "20260131_120000", first, cut='{"loss": 0.')
    again = [training(step, loss=1.0 + shift) for step in range(120, 301, 20)]
    again += [{"coco/bbox_mAP": 0.75 + shift / 10, "time": 9.0, "step": 3}]
    resumed = LOG + "2026/01/31 13:00:00 - mmengine - INFO - resumed epoch: 1, iter: 100\n"
    write_start(folder, "20260131_130000", again, resumed)
    return folder
