# A stop of the road from ResNet to ConvNeXt, its settings the same at every stop. Weights are
# random: published ones are there for the first stop and the last only, which would not be equal
# terms. `mmconvnext road` sets the step, and the channels of what reads the backbone's maps.
road_net = dict(
    type="mmconvnext.RoadNet",
    step="separate_downsampling",
    norm_cfg=dict(type="SyncBN", requires_grad=True),
    drop_path_rate=0.1,
    layer_scale_init_value=1.0,
)
