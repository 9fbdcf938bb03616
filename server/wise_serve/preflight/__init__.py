"""`wise-serve check`: would `wise-serve serve` with the same settings work on this machine?"""
