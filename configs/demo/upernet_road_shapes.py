_base_ = ["./upernet_convnext_shapes.py", "../_base_/models/road_net.py"]

# The road made small: `make road` walks it in minutes.
regime = dict(depths=[[2, 2, 2, 2], [2, 2, 3, 2]], widths=[16, 16, 24])
channels = [24, 48, 96, 192]

model = dict(
    backbone=dict(
        _delete_=True,
        **{**_base_.road_net, "norm_cfg": dict(type="BN"), "drop_path_rate": 0.0},
        regime=regime,
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
