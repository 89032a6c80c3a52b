"""A small, true table of Azure's virtual machine sizes: vCPUs, memory, GPUs, temporary disk and quota family of each.

Source: https://learn.microsoft.com/azure/virtual-machines/sizes (series pages). Family names are those of the usages API.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One size. Memory in GiB, disk in MiB."""

    name: str
    family: str
    vcpus: int
    memory: float
    disk: int
    gpus: int = 0


def _size(name: str, family: str, vcpus: int, memory: float, disk_gib: int, gpus: int = 0) -> Size:
    return Size(name, family, vcpus, memory, disk_gib * 1024, gpus)


SIZES = [
    _size("Standard_D1_v2", "standardDv2Family", 1, 3.5, 50),
    _size("Standard_D2_v2", "standardDv2Family", 2, 7, 100),
    _size("Standard_D3_v2", "standardDv2Family", 4, 14, 200),
    _size("Standard_D4_v2", "standardDv2Family", 8, 28, 400),
    _size("Standard_D11_v2", "standardDv2Family", 2, 14, 100),
    _size("Standard_D12_v2", "standardDv2Family", 4, 28, 200),
    _size("Standard_DS1_v2", "standardDSv2Family", 1, 3.5, 7),
    _size("Standard_DS2_v2", "standardDSv2Family", 2, 7, 14),
    _size("Standard_DS3_v2", "standardDSv2Family", 4, 14, 28),
    _size("Standard_DS4_v2", "standardDSv2Family", 8, 28, 56),
    _size("Standard_DS5_v2", "standardDSv2Family", 16, 56, 112),
    _size("Standard_DS11_v2", "standardDSv2Family", 2, 14, 28),
    _size("Standard_DS12_v2", "standardDSv2Family", 4, 28, 56),
    _size("Standard_DS13_v2", "standardDSv2Family", 8, 56, 112),
    _size("Standard_DS14_v2", "standardDSv2Family", 16, 112, 224),
    _size("Standard_D2s_v3", "standardDSv3Family", 2, 8, 16),
    _size("Standard_D4s_v3", "standardDSv3Family", 4, 16, 32),
    _size("Standard_D8s_v3", "standardDSv3Family", 8, 32, 64),
    _size("Standard_D16s_v3", "standardDSv3Family", 16, 64, 128),
    _size("Standard_D2as_v4", "standardDASv4Family", 2, 8, 16),
    _size("Standard_D4as_v4", "standardDASv4Family", 4, 16, 32),
    _size("Standard_D8as_v4", "standardDASv4Family", 8, 32, 64),
    _size("Standard_E2s_v3", "standardESv3Family", 2, 16, 32),
    _size("Standard_E4s_v3", "standardESv3Family", 4, 32, 64),
    _size("Standard_E8s_v3", "standardESv3Family", 8, 64, 128),
    _size("Standard_E16s_v3", "standardESv3Family", 16, 128, 256),
    _size("Standard_F2s_v2", "standardFSv2Family", 2, 4, 16),
    _size("Standard_F4s_v2", "standardFSv2Family", 4, 8, 32),
    _size("Standard_F8s_v2", "standardFSv2Family", 8, 16, 64),
    _size("Standard_F16s_v2", "standardFSv2Family", 16, 32, 128),
    _size("Standard_F32s_v2", "standardFSv2Family", 32, 64, 256),
    _size("Standard_NC4as_T4_v3", "standardNCASv3_T4Family", 4, 28, 176, 1),
    _size("Standard_NC8as_T4_v3", "standardNCASv3_T4Family", 8, 56, 352, 1),
    _size("Standard_NC16as_T4_v3", "standardNCASv3_T4Family", 16, 110, 352, 1),
    _size("Standard_NC6s_v3", "standardNCSv3Family", 6, 112, 736, 1),
    _size("Standard_NC12s_v3", "standardNCSv3Family", 12, 224, 1474, 2),
    _size("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 24, 220, 64, 1),
    _size("Standard_NC48ads_A100_v4", "standardNCADSA100v4Family", 48, 440, 128, 2),
]

BY_NAME = {size.name.lower(): size for size in SIZES}

FAMILIES = {
    "standardDv2Family": "Standard Dv2 Family",
    "standardDSv2Family": "Standard DSv2 Family",
    "standardDSv3Family": "Standard DSv3 Family",
    "standardDASv4Family": "Standard DASv4 Family",
    "standardESv3Family": "Standard ESv3 Family",
    "standardFSv2Family": "Standard FSv2 Family",
    "standardNCASv3_T4Family": "Standard NCASv3_T4 Family",
    "standardNCSv3Family": "Standard NCSv3 Family",
    "standardNCADSA100v4Family": "Standard NCADSA100v4 Family",
}
