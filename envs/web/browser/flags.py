"""How Chromium is started: no window, one origin, the same page every time."""

from __future__ import annotations

import os
import warnings
from pathlib import Path


def _sandboxed() -> bool:
    """Tell whether Chromium's sandbox can be used; root cannot."""
    if os.environ.get("DAEDALUS_NO_SANDBOX") or os.geteuid() == 0:
        warnings.warn(
            "Chromium runs without its sandbox (as root it has none); open pages of your own only",
            stacklevel=5,
        )
        return False
    return True


_FEATURES = (
    "BackForwardCache",
    "OptimizationHints",
    "PaintHolding",
    "RenderDocument",
    "SpareRendererForSitePerProcess",
)
"""What Chromium prepares for pages that are kept, guessed or fading: a quarter of an opening."""


def flags(origin: str, size: tuple[int, int], folder: Path, frames: bool) -> list[str]:
    """Return what Chromium is started with: shut in, the same page every time, and quiet.

    Args:
        origin: The only origin that it can reach.
        size: Width and height of pages.
        folder: Where its profile goes.
        frames: Whether to draw as fast as it can.
    """
    host = origin.partition("//")[2]
    found = [
        "--headless=new",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={max(size[0], 500)},{max(size[1], 400)}",
        # the way out: a dead proxy for everything but the one origin
        "--proxy-server=http://127.0.0.1:9",
        f"--proxy-bypass-list=<-loopback>;{host}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        # the same page every time
        "--force-device-scale-factor=1",
        "--hide-scrollbars",
        "--font-render-hinting=none",
        "--disable-lcd-text",
        "--lang=en-US",
        f"--disable-features={','.join(_FEATURES)}",
    ]
    quiet = "gpu extensions background-networking sync default-apps component-update dev-shm-usage"
    found += [f"--disable-{name}" for name in quiet.split()]
    found += ["--no-first-run", "--no-default-browser-check", "--mute-audio", "--no-pings"]
    if frames:  # a picture is of the next frame but one; a display's rate would make it 33 ms late
        found.append("--disable-frame-rate-limit")
    return found if _sandboxed() else [*found, "--no-sandbox"]


PREFERENCES = {
    "download_restrictions": 3,
    "credentials_enable_service": False,
    "profile.password_manager_enabled": False,
    "webrtc.ip_handling_policy": "disable_non_proxied_udp",
    "webrtc.multiple_routes_enabled": False,
    "webrtc.nonproxied_udp_enabled": False,
    "profile.default_content_setting_values.popups": 2,
}
