"""Crossing the gap: bundles, QR codes, multi-part UR."""
