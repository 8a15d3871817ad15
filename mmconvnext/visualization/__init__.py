"""Plots of training runs and pictures of predictions; matplotlib is imported when one is drawn."""

from __future__ import annotations

from mmconvnext.visualization.contact_sheet import contact_sheet
from mmconvnext.visualization.curves import plot_curves, read_scalars
from mmconvnext.visualization.grid import Instance, Panel, panel_of, save_grid
from mmconvnext.visualization.overlay import paint_classes, paint_objects

__all__ = [
    "Instance",
    "Panel",
    "contact_sheet",
    "paint_classes",
    "paint_objects",
    "panel_of",
    "plot_curves",
    "read_scalars",
    "save_grid",
]
