"""Slow twins of dolma_py/hashing: xxh64 and splitmix64 in Python integers, line by line after the specification."""

import struct

M = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotate_left(value, num_bits):
    return ((value << num_bits) | (value >> (64 - num_bits))) & M


def step(lane, value):
    return rotate_left((lane + value * P2) & M, 31) * P1 & M


def xxh64(text, seed=0):
    rest = bytes(text)
    if len(rest) >= 32:
        lanes = [(seed + P1 + P2) & M, (seed + P2) & M, seed, (seed - P1) & M]
        while len(rest) >= 32:
            lanes = [step(lane, value) for lane, value in zip(lanes, struct.unpack("<4Q", rest[:32]), strict=True)]
            rest = rest[32:]
        state = sum(rotate_left(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & M
        for lane in lanes:
            state = ((state ^ step(0, lane)) * P1 + P4) & M
    else:
        state = (seed + P5) & M
    state = (state + len(text)) & M
    while len(rest) >= 8:
        state = (rotate_left(state ^ step(0, struct.unpack("<Q", rest[:8])[0]), 27) * P1 + P4) & M
        rest = rest[8:]
    if len(rest) >= 4:
        state = (rotate_left(state ^ (struct.unpack("<I", rest[:4])[0] * P1 & M), 23) * P2 + P3) & M
        rest = rest[4:]
    for byte in rest:
        state = rotate_left(state ^ (byte * P5 & M), 11) * P1 & M
    state = (state ^ (state >> 33)) * P2 & M
    state = (state ^ (state >> 29)) * P3 & M
    return state ^ (state >> 32)


def mix64(key):
    state = (key + 0x9E3779B97F4A7C15) & M
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & M
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & M
    return state ^ (state >> 31)


def hash_ranges(data, ranges, seed=0):
    return [xxh64(bytes(data)[start:end], seed) for start, end in ranges]


def mix_keys(keys, seed=0):
    return [mix64(key ^ mix64(seed)) for key in keys]


def uniform_hash(keys, seed=0):
    return [(key >> 11) / 2**53 for key in mix_keys(keys, seed)]
