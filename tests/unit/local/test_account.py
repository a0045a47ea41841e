"""The access list that opens a folder to one account, as Linux stores it."""

import struct

from tmws_local.account import pack_access_list

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF


def unpack(packed: bytes) -> list[tuple[int, int, int]]:
    assert struct.unpack("<I", packed[:4]) == (2,)
    return list(struct.iter_unpack("<HHI", packed[4:]))


def test_one_account_is_added_to_a_closed_folder() -> None:
    packed = pack_access_list({(USER_OBJ, NO_ID): 7, (GROUP_OBJ, NO_ID): 0, (OTHER, NO_ID): 0, (USER, 999): 1})

    assert unpack(packed) == [
        (USER_OBJ, 7, NO_ID),
        (USER, 1, 999),
        (GROUP_OBJ, 0, NO_ID),
        (MASK, 1, NO_ID),
        (OTHER, 0, NO_ID),
    ]


def test_mask_covers_what_the_others_in_the_list_have() -> None:
    packed = pack_access_list(
        {
            (USER_OBJ, NO_ID): 7,
            (GROUP_OBJ, NO_ID): 4,
            (GROUP, 50): 2,
            (OTHER, NO_ID): 7,
            (USER, 999): 1,
            (MASK, NO_ID): 0,
        }
    )

    assert (MASK, 7, NO_ID) in unpack(packed)
