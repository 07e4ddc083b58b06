"""Priors: what is known of images without a scanner, as a regulariser or as a denoiser."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
