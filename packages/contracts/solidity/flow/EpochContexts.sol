// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {DigestHistory} from "./DigestHistory.sol";

/// What a miner proves against.
struct MineContext {
    uint256 epoch;
    uint256 mineStart;
    bytes32 flowRoot;
    uint256 flowLength;
    bytes32 blockDigest;
    bytes32 digest;
}

/// Chunks [start, end) that entered the flow in one epoch.
struct EpochRange {
    uint128 start;
    uint128 end;
}

struct EpochRangeWithContextDigest {
    uint128 start;
    uint128 end;
    bytes32 digest;
}

/// @title Mining epochs over the flow (spec/storage.md 2.6).
/// @dev An epoch is closed by whoever touches the flow first after its last block; no keeper is needed. Every loop is
/// bounded: after long idling a submission closes EPOCHS_PER_SUBMIT_MAX epochs and leaves the rest to the next caller.
abstract contract EpochContexts {
    using SafeCast for uint256;

    /// Epochs a submission closes at most (about 110 000 gas each): two cover every wait below one whole idle epoch.
    uint256 internal constant EPOCHS_PER_SUBMIT_MAX = 2;
    /// Epochs one call of makeContext closes at most: about 11 million gas, a third of a block of 30 million.
    uint256 internal constant EPOCHS_PER_CALL_MAX = 100;
    /// Block hashes older than this are gone (EIP-2935): such an epoch has no digest and its data joins the next one.
    uint256 internal constant BLOCK_HASH_WINDOW = 8191;
    uint256 internal constant ROOT_HISTORY_CAPACITY = 1000;
    /// keccak256 of nothing: "this epoch cannot be mined".
    bytes32 internal constant EMPTY_HASH = 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470;

    uint64 private _firstBlock;
    uint64 private _blocksPerEpoch;
    uint64 private _epoch;
    DigestHistory private _rootHistory;
    uint128 private _epochStartPosition;
    uint128 private _contextLength = 1;
    bytes32 private _contextRoot;
    bytes32 private _contextBlockDigest = EMPTY_HASH;
    /// Digests of the mineable epochs, oldest first; their ranges follow one another without a gap.
    bytes32[] private _rangeDigests;
    mapping(bytes32 digest => EpochRange) private _ranges;

    /// No epoch with a digest covers this position yet.
    error PositionNotCovered(uint256 position);
    error BlocksPerEpochInvalid();

    event NewEpoch(
        address indexed sender,
        uint256 indexed index,
        bytes32 startMerkleRoot,
        uint256 submissionIndex,
        uint256 flowLength,
        bytes32 context
    );

    /// @notice Closes the epochs that have ended, EPOCHS_PER_CALL_MAX at most. Anyone. Emits NewEpoch per epoch.
    function makeContext() external {
        _closeEpochs(EPOCHS_PER_CALL_MAX);
    }

    /// @notice As makeContext, `cnt` + 1 epochs at most. Anyone.
    /// @dev The reference runs as long as it is told to; here EPOCHS_PER_CALL_MAX bounds it.
    function makeContextFixedTimes(uint256 cnt) external {
        _closeEpochs(cnt < EPOCHS_PER_CALL_MAX ? cnt + 1 : EPOCHS_PER_CALL_MAX);
    }

    /// @notice As makeContext, and returns the context. Meant for eth_call.
    function makeContextWithResult() external returns (MineContext memory) {
        _closeEpochs(EPOCHS_PER_CALL_MAX);
        return getContext();
    }

    /// @notice The epoch range that covers a chunk. Meant for eth_call. Reverts with PositionNotCovered.
    function queryContextAtPosition(uint128 targetPosition) external returns (EpochRangeWithContextDigest memory range) {
        _closeEpochs(EPOCHS_PER_CALL_MAX);
        uint256 low = 0;
        uint256 high = _rangeDigests.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_ranges[_rangeDigests[middle]].end > targetPosition) high = middle;
            else low = middle + 1;
        }
        if (low == _rangeDigests.length) revert PositionNotCovered(targetPosition);
        return getEpochRangeHistory(low);
    }

    function getEpochRange(bytes32 digest) external view returns (EpochRange memory) {
        return _ranges[digest];
    }

    function epoch() external view returns (uint256) {
        return _epoch;
    }

    function epochStartPosition() external view returns (uint256) {
        return _epochStartPosition;
    }

    function firstBlock() external view returns (uint256) {
        return _firstBlock;
    }

    function blocksPerEpoch() external view returns (uint256) {
        return _blocksPerEpoch;
    }

    function rootHistory() external view returns (address) {
        return address(_rootHistory);
    }

    function getContext() public view returns (MineContext memory) {
        return
            MineContext({
                epoch: _epoch,
                mineStart: _epoch == 0 ? 0 : _epochEnd(_epoch),
                flowRoot: _contextRoot,
                flowLength: _contextLength,
                blockDigest: _contextBlockDigest,
                digest: _digestOf(_contextBlockDigest, _contextRoot, _contextLength)
            });
    }

    function getEpochRangeHistory(uint256 index) public view returns (EpochRangeWithContextDigest memory) {
        bytes32 digest = _rangeDigests[index];
        EpochRange memory range = _ranges[digest];
        return EpochRangeWithContextDigest(range.start, range.end, digest);
    }

    function _startEpochs(uint256 firstBlock_, uint256 blocksPerEpoch_) internal {
        if (blocksPerEpoch_ == 0) revert BlocksPerEpochInvalid();
        _firstBlock = firstBlock_.toUint64();
        _blocksPerEpoch = blocksPerEpoch_.toUint64();
        _rootHistory = new DigestHistory(ROOT_HISTORY_CAPACITY);
    }

    function _launched() internal view returns (bool) {
        return _firstBlock != 0 && block.number >= _firstBlock;
    }

    /// All epochs that end in one transaction see the same tree: it changes only after this.
    function _closeEpochs(uint256 epochsMax) internal {
        if (!_launched()) return;
        uint256 index = _epoch;
        uint256 end = _epochEnd(index + 1);
        if (end >= block.number) return;

        uint256 length = _flowLength();
        bytes32 root = _flowRoot();
        for (uint256 last = index + epochsMax; index < last && end < block.number; end += _blocksPerEpoch) {
            index++;
            _rootHistory.insert(root);
            bytes32 blockDigest = _blockDigest(end);
            bytes32 digest = _digestOf(blockDigest, root, length);
            if (blockDigest != EMPTY_HASH) _pushRange(digest, length);

            _epoch = index.toUint64();
            _contextRoot = root;
            _contextLength = length.toUint128();
            _contextBlockDigest = blockDigest;
            emit NewEpoch(msg.sender, index, root, _flowSubmissions(), length, digest);
        }
    }

    function _flowRoot() internal view virtual returns (bytes32);

    function _flowLength() internal view virtual returns (uint256);

    function _flowSubmissions() internal view virtual returns (uint256);

    function _pushRange(bytes32 digest, uint256 length) private {
        _ranges[digest] = EpochRange(_epochStartPosition, length.toUint128());
        _rangeDigests.push(digest);
        _epochStartPosition = length.toUint128();
    }

    /// The block whose hash seeds epoch `index`: the last one of the epoch before.
    function _epochEnd(uint256 index) private view returns (uint256) {
        return uint256(_firstBlock) + index * _blocksPerEpoch;
    }

    /// EMPTY_HASH when the hash is out of reach: older than the window, or on a chain without EIP-2935 after 256 blocks.
    /// A zero hash must never become a seed, since everyone could have known it beforehand.
    function _blockDigest(uint256 number) private view returns (bytes32) {
        if (number + BLOCK_HASH_WINDOW < block.number) return EMPTY_HASH;
        bytes32 hash = Blockhash.blockHash(number);
        return hash == bytes32(0) ? EMPTY_HASH : hash;
    }

    function _digestOf(bytes32 blockDigest, bytes32 root, uint256 length) private pure returns (bytes32) {
        return blockDigest == EMPTY_HASH ? EMPTY_HASH : keccak256(abi.encode(blockDigest, root, length));
    }
}
