"""The mathematics of STEGO: arrays in, arrays out; no files, network, environment or clock."""
