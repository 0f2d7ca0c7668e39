// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title A ring of the last `capacity` digests. Flow keeps its epoch roots here.
contract DigestHistory is Ownable {
    uint256 private immutable _capacity;
    uint256 private _count;
    mapping(uint256 slot => bytes32) private _digests;
    /// Index of the latest insertion of a digest, plus one.
    mapping(bytes32 digest => uint256) private _insertions;

    /// Not inserted yet, or overwritten since.
    error UnavailableIndex(uint256 index);
    /// A ring needs at least one place.
    error CapacityInvalid();

    event DigestInserted(uint256 indexed index, bytes32 digest);

    /// The creator owns it: Flow creates its own history when it is initialised.
    constructor(uint256 capacity) Ownable(msg.sender) {
        if (capacity == 0) revert CapacityInvalid();
        _capacity = capacity;
    }

    /// @notice Appends a digest over the oldest one and returns its index. Owner only. Emits DigestInserted.
    function insert(bytes32 data) external onlyOwner returns (uint256) {
        uint256 index = _count;
        _count = index + 1;
        _digests[index % _capacity] = data;
        _insertions[data] = index + 1;
        emit DigestInserted(index, data);
        return index;
    }

    /// @notice The digest with this index. Reverts with UnavailableIndex outside the last `capacity` ones.
    function at(uint256 index) external view returns (bytes32) {
        if (!available(index)) revert UnavailableIndex(index);
        return _digests[index % _capacity];
    }

    /// @notice True while a digest is among the last `capacity` ones.
    function contains(bytes32 input) external view returns (bool) {
        uint256 insertion = _insertions[input];
        return insertion != 0 && available(insertion - 1);
    }

    function available(uint256 index) public view returns (bool) {
        return index < _count && _count - index <= _capacity;
    }
}
