"""Networks that commute with rotations and reflections of the image.

A layer L is equivariant under a group if L(g x) = g L(x) for each element g, where g moves the
pixels of an image and, in between, permutes the channels that belong together, a "field".
"""

from __future__ import annotations

from tomolearn.models.equivariant.equivariant_proximal import EquivariantProximal
from tomolearn.models.equivariant.errors import equivariance_errors
from tomolearn.models.equivariant.filters import filter_action, filter_basis
from tomolearn.models.equivariant.groups import GROUPS, Group, get_group
from tomolearn.models.equivariant.layers import GroupConv2d, GroupConv3d, NormActivation

__all__ = [
    "GROUPS",
    "EquivariantProximal",
    "Group",
    "GroupConv2d",
    "GroupConv3d",
    "NormActivation",
    "equivariance_errors",
    "filter_action",
    "filter_basis",
    "get_group",
]
