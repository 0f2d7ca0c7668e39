// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// One node of a submission: the Merkle root of 2^height chunks of 256 bytes.
struct SubmissionNode {
    bytes32 root;
    uint256 height;
}

/// One file: `length` in bytes, and nodes that cover its padded chunks from the first on.
struct SubmissionData {
    uint256 length;
    bytes tags;
    SubmissionNode[] nodes;
}

/// The second generation of the ABI: the entry may belong to someone other than the payer.
struct Submission {
    SubmissionData data;
    address submitter;
}

/// @title The validity rules of a submission (spec/storage.md 2.2), a pure function of the calldata.
library SubmissionRules {
    /// Bytes in one chunk.
    uint256 internal constant CHUNK_SIZE_BYTES = 256;
    /// First and last height differ by less than this, so at most 1/16 of a submission is padding.
    uint256 internal constant HEIGHT_SPREAD = 4;
    /// Heights below this: 2^63 chunks, the largest power that leaves room for a second one in a tree of 2^64.
    uint256 internal constant HEIGHT_LIMIT = 64;

    /// @notice Checks a submission and returns the chunks it is charged for.
    /// @dev Reverts with the reference's string "Invalid submission". A list of rising heights ends in an arithmetic
    /// panic (0x11) instead, as in the reference: the subtraction below is checked on purpose. The loop ends after five
    /// nodes: heights fall strictly and by less than HEIGHT_SPREAD in all.
    function sectorsOf(SubmissionData calldata data) internal pure returns (uint256 sectors) {
        uint256 count = data.nodes.length;
        require(count != 0, "Invalid submission");
        uint256 first = data.nodes[0].height;
        require(first - data.nodes[count - 1].height < HEIGHT_SPREAD, "Invalid submission");
        require(first < HEIGHT_LIMIT, "Invalid submission");

        sectors = 1 << first;
        uint256 above = first;
        for (uint256 i = 1; i < count; i++) {
            uint256 height = data.nodes[i].height;
            require(height < above, "Invalid submission");
            sectors += 1 << height;
            above = height;
        }

        require(data.length <= sectors * CHUNK_SIZE_BYTES, "Invalid submission");
        require(data.length > _sectorsBelow(sectors, first, count) * CHUNK_SIZE_BYTES, "Invalid submission");
    }

    /// @notice keccak256 of the node roots, the `identity` of the Submit event. Not the file root.
    function identityOf(SubmissionData calldata data) internal pure returns (bytes32) {
        uint256 count = data.nodes.length;
        bytes32[] memory roots = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) roots[i] = data.nodes[i].root;
        return keccak256(abi.encodePacked(roots));
    }

    /// The size of the next smaller shape: a file that would fit there must use it.
    function _sectorsBelow(uint256 sectors, uint256 first, uint256 count) private pure returns (uint256) {
        if (sectors < 16) return sectors - 1;
        if (count == 1) return sectors - sectors / 16;
        return sectors - (1 << (first - 3));
    }
}
