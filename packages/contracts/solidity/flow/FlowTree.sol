// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {SubmissionNode} from "./Submission.sol";

/// @dev A flow holds 2^64 chunks: positions are 64-bit numbers for every storage node.
uint256 constant TREE_HEIGHT_MAX = 64;
/// @dev One slot per height, the top included.
uint256 constant TREE_SLOTS = TREE_HEIGHT_MAX + 1;

/// @title The append-only Merkle tree of the flow (spec/storage.md 2.3) as a binary-counter frontier.
/// @dev `frontier[h]` is the root of the complete left subtree of height h wherever bit h of the length is set; other
/// slots are stale and never read. Nothing is ever cleared, so a slot costs 20 000 gas once and 2 900 ever after, and
/// `prepare` pays that once at deployment. A transaction works on a memory copy: each slot is read at most once and
/// written at most once, however many entries a batch appends.
library FlowTree {
    /// Chunks in one segment: files below this never straddle a segment, larger ones start at one.
    uint256 internal constant SEGMENT_CHUNKS = 1024;
    uint256 internal constant SEGMENT_HEIGHT = 10;
    /// Slots written at deployment: 2^32 chunks are 1 TiB of flow. Above, a new height costs 17 100 gas more once.
    uint256 internal constant PREPARED_HEIGHTS = 32;
    /// keccak256 of 256 zero bytes: the leaf of a chunk that nobody wrote.
    bytes32 internal constant ZERO_LEAF = 0xd397b3b043d87fcd6fad1291ff0bfd16401c274896d8c63a923727f077b8e0b5;

    /// The flow is full: 2^64 chunks.
    error FlowFull(uint256 length);

    /// The tree while a transaction works on it.
    struct Cursor {
        uint256 length;
        /// Bit h: `nodes[h]` holds the current value.
        uint256 loaded;
        /// Bit h: `nodes[h]` differs from storage.
        uint256 changed;
        /// Heights of `zeros` filled so far.
        uint256 zeroCount;
        bytes32[TREE_SLOTS] nodes;
        bytes32[TREE_SLOTS] zeros;
    }

    /// @dev Makes the first PREPARED_HEIGHTS slots non-zero, except height 0: position 0 is a reserved leaf whose hash is
    /// bytes32(0), and it is in use from the start (length 1).
    function prepare(bytes32[TREE_SLOTS] storage frontier) internal {
        for (uint256 h = 1; h < PREPARED_HEIGHTS; h++) frontier[h] = ZERO_LEAF;
    }

    function open(uint256 length) internal pure returns (Cursor memory cursor) {
        cursor.length = length;
        cursor.zeros[0] = ZERO_LEAF;
        cursor.zeroCount = 1;
    }

    /// @notice Places one valid submission and returns the position of its first chunk.
    /// @dev Nodes after the first follow without a gap: the length is a multiple of 2^(first height) before them.
    function append(
        Cursor memory cursor,
        bytes32[TREE_SLOTS] storage frontier,
        SubmissionNode[] calldata nodes,
        uint256 sectors
    ) internal view returns (uint256 start) {
        uint256 height = nodes[0].height;
        start = _align(cursor.length, height);
        // Aligning to a segment is enough here: a start inside a segment has a height below SEGMENT_HEIGHT.
        if (start % SEGMENT_CHUNKS != 0 && start / SEGMENT_CHUNKS != (start + sectors - 1) / SEGMENT_CHUNKS) {
            height = SEGMENT_HEIGHT;
            start = _align(cursor.length, height);
        }
        if (start + sectors > 1 << TREE_HEIGHT_MAX) revert FlowFull(cursor.length);

        _pad(cursor, frontier, height);
        for (uint256 i = 0; i < nodes.length; i++) _put(cursor, frontier, nodes[i].root, nodes[i].height);
    }

    /// @notice Root of the smallest perfect tree that covers the length, zero chunks right of the end.
    function root(Cursor memory cursor, bytes32[TREE_SLOTS] storage frontier) internal view returns (bytes32) {
        uint256 top = 0;
        while (1 << top < cursor.length) top++;
        if (cursor.length == 1 << top) return _load(cursor, frontier, top);
        return _partial(cursor, frontier, top);
    }

    /// @notice Writes the changed slots that are in use; stale ones are left as they are.
    function close(Cursor memory cursor, bytes32[TREE_SLOTS] storage frontier) internal {
        uint256 pending = cursor.changed & cursor.length;
        for (uint256 h = 0; pending >> h != 0; h++) {
            if ((pending >> h) & 1 == 1) frontier[h] = cursor.nodes[h];
        }
    }

    function _align(uint256 length, uint256 height) private pure returns (uint256) {
        return ((length + (1 << height) - 1) >> height) << height;
    }

    /// Fills with zero chunks up to the next multiple of 2^height.
    function _pad(Cursor memory cursor, bytes32[TREE_SLOTS] storage frontier, uint256 height) private view {
        uint256 length = cursor.length;
        if (length % (1 << height) == 0) return;
        bytes32 node = _partial(cursor, frontier, height);
        cursor.length = (length >> height) << height;
        _put(cursor, frontier, node, height);
    }

    /// Adds a complete subtree at the end, which is a multiple of 2^height: a binary counter with hashes for carries.
    function _put(
        Cursor memory cursor,
        bytes32[TREE_SLOTS] storage frontier,
        bytes32 node,
        uint256 height
    ) private view {
        uint256 length = cursor.length;
        cursor.length = length + (1 << height);
        while ((length >> height) & 1 == 1) {
            node = Hashes.efficientKeccak256(_load(cursor, frontier, height), node);
            height++;
        }
        cursor.nodes[height] = node;
        cursor.loaded |= 1 << height;
        cursor.changed |= 1 << height;
    }

    /// Root of the subtree of `height` that contains the end, zero chunks right of it. The end is not its first chunk.
    function _partial(
        Cursor memory cursor,
        bytes32[TREE_SLOTS] storage frontier,
        uint256 height
    ) private view returns (bytes32 node) {
        uint256 length = cursor.length;
        uint256 h = 0;
        while ((length >> h) & 1 == 0) h++;
        for (node = _zero(cursor, h); h < height; h++) {
            node = (length >> h) & 1 == 1
                ? Hashes.efficientKeccak256(_load(cursor, frontier, h), node)
                : Hashes.efficientKeccak256(node, _zero(cursor, h));
        }
    }

    function _load(
        Cursor memory cursor,
        bytes32[TREE_SLOTS] storage frontier,
        uint256 height
    ) private view returns (bytes32) {
        if ((cursor.loaded >> height) & 1 == 0) {
            cursor.nodes[height] = frontier[height];
            cursor.loaded |= 1 << height;
        }
        return cursor.nodes[height];
    }

    /// Root of 2^height zero chunks.
    function _zero(Cursor memory cursor, uint256 height) private pure returns (bytes32) {
        while (cursor.zeroCount <= height) {
            bytes32 below = cursor.zeros[cursor.zeroCount - 1];
            cursor.zeros[cursor.zeroCount] = Hashes.efficientKeccak256(below, below);
            cursor.zeroCount++;
        }
        return cursor.zeros[height];
    }
}
