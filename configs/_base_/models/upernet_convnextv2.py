_base_ = "./upernet_convnext.py"

# V2: GRN instead of layer scale.
model = dict(backbone=dict(use_grn=True, layer_scale_init_value=0.0))
