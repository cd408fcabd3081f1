import numpy as np
import pytest

from lookalike.prepare.duplicates import hamming
from lookalike.prepare.duplicates.hamming import choose_blocks, hamming_pairs


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def with_flipped_bits(hashes, bits, seed=1):
    generator = np.random.default_rng(seed)
    flipped = hashes.copy()
    for _ in range(bits):
        flipped ^= np.uint64(1) << generator.integers(0, 64, len(hashes), dtype=np.uint64)
    return flipped


def pairs_of(hashes, radius):
    found = hamming_pairs(hashes, radius)
    assert (np.bitwise_count(hashes[found.first] ^ hashes[found.second]) == found.distance).all()
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)), "each pair once"
    return set(pairs)


def all_pairs(hashes, radius):
    close = np.bitwise_count(hashes[:, None] ^ hashes) <= radius
    return set(zip(*(rows.tolist() for rows in np.nonzero(np.triu(close, 1))), strict=True))


@pytest.mark.parametrize("radius", [1, 4, 10, 18])
@pytest.mark.parametrize("agreeing", [0, 1, 2, 3])
def test_all_pairs_however_the_hashes_are_cut(monkeypatch, radius, agreeing):
    base = random_hashes(400)
    hashes = np.concatenate([base, with_flipped_bits(base[:200], 3), with_flipped_bits(base[:200], radius)])
    hashes = np.random.default_rng(2).permutation(np.unique(hashes))
    monkeypatch.setattr(hamming, "choose_blocks", lambda count, radius: (radius + agreeing, agreeing))
    assert pairs_of(hashes, radius) == all_pairs(hashes, radius)


def test_the_work_is_chosen_by_size():
    assert choose_blocks(100, 10)[1] == 0, "few hashes are compared with one another"
    assert choose_blocks(1_000_000, 10) == (13, 3)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("radius", [0, 10, 64])
def test_few_hashes_and_extreme_radii(count, radius):
    hashes = random_hashes(count)
    assert pairs_of(hashes, radius) == ({(0, 1)} if count == 2 and radius == 64 else set())


def test_equal_hashes_are_linked_to_the_first_of_them():
    hashes = np.concatenate([random_hashes(50), np.full(10_000, 7, np.uint64)])
    hashes[3] = 7 ^ 1
    pairs = pairs_of(hashes, 10)
    assert {(50, row) for row in range(51, 10_050)} | {(3, 50)} == pairs


def test_a_dense_cluster_is_linked_to_its_centre():
    centre = np.full(20_000, random_hashes(1)[0])
    cluster = np.unique(with_flipped_bits(centre, 4))
    others = random_hashes(20_000, seed=5)
    hashes = np.concatenate([cluster, others, with_flipped_bits(others[:100], 2)])
    found = hamming_pairs(hashes, 10)
    assert len(found) < 10 * len(hashes)
    linked = set(found.first.tolist()) | set(found.second.tolist())
    assert set(range(len(cluster))) <= linked
    expected = {(len(cluster) + row, len(cluster) + 20_000 + row) for row in range(100)}
    assert expected <= set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="radius=65: must be from 0 to 64"):
        hamming_pairs(random_hashes(3), 65)
    with pytest.raises(ValueError, match=r"must be uint64 \[N\], got int64"):
        hamming_pairs(np.arange(3), 10)
