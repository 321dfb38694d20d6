"""Measures of how close a synthetic image is to a real one."""

from cmrjax.metrics.image_quality import (
    PROTOCOL,
    has_valid_window,
    nrmse,
    psnr,
    ssim,
)

__all__ = ["PROTOCOL", "has_valid_window", "nrmse", "psnr", "ssim"]
