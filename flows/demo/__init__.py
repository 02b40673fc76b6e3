"""The demo's generated corpus."""
