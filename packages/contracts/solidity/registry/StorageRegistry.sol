// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {PullPayments} from "../money/PullPayments.sol";

enum MemberStatus {
    None,
    Active,
    Stale,
    Draining,
    Left
}

/// One storage node, as `members()` and `memberOf()` show it.
struct Member {
    uint32 id;
    address owner;
    address signer;
    string endpoint;
    bytes32 domain;
    uint256 weight;
    uint64 capacitySegments;
    uint256 stake;
    uint256 lastHeartbeat;
    MemberStatus status;
}

/// @title Who stores: the membership that placement and receipts refer to (DESIGN D7).
/// @dev No admin. Each change of the ACTIVE set raises the version and stores the hash of the member list, so a list can be
/// checked offline against one hash. States: Active ⇄ Stale, both → Draining → Left. Stake goes back to its owner alone.
contract StorageRegistry is PullPayments {
    using SafeCast for uint256;

    /// Active members: bounds every loop here (a change at 256 members costs 1.5 million gas at most) and a certificate.
    uint256 public constant MEMBERS_MAX = 256;
    /// A URL; more would be somebody's free storage.
    uint256 public constant ENDPOINT_BYTES_MAX = 256;

    /// Stake that one segment of weight costs.
    uint256 public immutable stakePerSegmentWei;
    /// A member without a heartbeat for longer can be marked stale by anyone.
    uint256 public immutable graceSeconds;
    /// From drain to leave: time to move shards away.
    uint256 public immutable leaveDelaySeconds;

    struct Record {
        address owner;
        uint64 lastHeartbeat;
        MemberStatus status;
        address signer;
        uint64 capacitySegments;
        uint128 stake;
        uint64 leaveAt;
        bytes32 domain;
        bytes32 leaf;
        string endpoint;
    }

    uint64 public version;
    uint32 private _lastId;
    /// Ids of the active members, ascending.
    uint32[] private _active;
    mapping(uint32 id => Record) private _records;
    mapping(address owner => uint32 id) private _idOfOwner;
    mapping(address signer => uint32 id) private _idOfSigner;
    mapping(uint64 version => bytes32) private _hashes;

    error ParameterInvalid();
    error AlreadyMember(address owner, uint32 id);
    error NotMember(address owner);
    error WrongStatus(uint32 id, MemberStatus status);
    error SignerInvalid(address signer);
    error SignerTaken(address signer, uint32 id);
    error EndpointInvalid(uint256 sizeBytes, uint256 max);
    error CapacityInvalid(uint64 capacitySegments);
    error StakeTooLow(uint256 stake, uint256 needed);
    error MembersFull(uint256 max);
    error StillAlive(uint32 id, uint256 staleAfter);
    error LeavesLater(uint32 id, uint256 leaveAt);

    /// The active set changed, and this member is why. `status` says what it is now.
    event MemberChanged(
        uint64 indexed version,
        uint32 indexed id,
        address signer,
        string endpoint,
        bytes32 domain,
        uint256 weight,
        uint8 status
    );
    event Heartbeat(uint32 indexed id, uint256 timestamp);
    event DrainStarted(uint32 indexed id, uint256 leaveAt);
    event MemberLeft(uint32 indexed id, uint256 stake);

    constructor(uint256 stakePerSegmentWei_, uint256 graceSeconds_, uint256 leaveDelaySeconds_) {
        if (stakePerSegmentWei_ == 0 || graceSeconds_ == 0) revert ParameterInvalid();
        // Sums with a timestamp stay far below 2^64.
        if (graceSeconds_ > type(uint32).max || leaveDelaySeconds_ > type(uint32).max) revert ParameterInvalid();
        stakePerSegmentWei = stakePerSegmentWei_;
        graceSeconds = graceSeconds_;
        leaveDelaySeconds = leaveDelaySeconds_;
        _hashes[0] = keccak256("");
    }

    /// @notice Joins as an active member. The sender owns the member and its stake (the value sent); `signer` is the key of
    /// its receipts and belongs to one member until that one has left. Emits MemberChanged.
    function register(
        address signer,
        string calldata endpoint,
        bytes32 domain,
        uint64 capacitySegments
    ) external payable returns (uint32 id) {
        if (_idOfOwner[msg.sender] != 0) revert AlreadyMember(msg.sender, _idOfOwner[msg.sender]);
        id = ++_lastId;
        _idOfOwner[msg.sender] = id;
        Record storage record = _records[id];
        record.owner = msg.sender;
        record.lastHeartbeat = block.timestamp.toUint64();
        _describe(id, record, signer, endpoint, domain, capacitySegments);
        _activate(id, record);
    }

    /// @notice Owner of an active member: replaces its description and adds the value sent to its stake. Emits MemberChanged.
    function update(
        address signer,
        string calldata endpoint,
        bytes32 domain,
        uint64 capacitySegments
    ) external payable {
        (uint32 id, Record storage record) = _own();
        if (record.status != MemberStatus.Active) revert WrongStatus(id, record.status);
        _describe(id, record, signer, endpoint, domain, capacitySegments);
        _commit(id, record);
    }

    /// @notice Owner: says that the node lives. A stale member becomes active again. Emits Heartbeat, then MemberChanged.
    function heartbeat() external {
        (uint32 id, Record storage record) = _own();
        if (record.status == MemberStatus.Draining) revert WrongStatus(id, record.status);
        record.lastHeartbeat = block.timestamp.toUint64();
        emit Heartbeat(id, block.timestamp);
        if (record.status == MemberStatus.Stale) _activate(id, record);
    }

    /// @notice Owner: leaves the active set and starts the delay before `leave`. Emits DrainStarted and, if it was active,
    /// MemberChanged.
    function drain() external {
        (uint32 id, Record storage record) = _own();
        MemberStatus before = record.status;
        if (before == MemberStatus.Draining) revert WrongStatus(id, before);
        record.leaveAt = (block.timestamp + leaveDelaySeconds).toUint64();
        emit DrainStarted(id, record.leaveAt);
        if (before == MemberStatus.Active) _deactivate(id, record, MemberStatus.Draining);
        else record.status = MemberStatus.Draining;
    }

    /// @notice Owner, once the delay after `drain` is over: the stake becomes withdrawable, owner and signer are free again.
    /// Emits MemberLeft and Credited.
    function leave() external {
        (uint32 id, Record storage record) = _own();
        if (record.status != MemberStatus.Draining) revert WrongStatus(id, record.status);
        if (block.timestamp < record.leaveAt) revert LeavesLater(id, record.leaveAt);
        uint256 stake = record.stake;
        record.stake = 0;
        record.status = MemberStatus.Left;
        delete _idOfOwner[record.owner];
        delete _idOfSigner[record.signer];
        _credit(record.owner, stake);
        emit MemberLeft(id, stake);
    }

    /// @notice Anyone: takes a member out of the active set whose last heartbeat is older than the grace. Emits MemberChanged.
    function markStale(uint32 id) external {
        Record storage record = _records[id];
        if (record.status != MemberStatus.Active) revert WrongStatus(id, record.status);
        uint256 staleAfter = record.lastHeartbeat + graceSeconds;
        if (block.timestamp <= staleAfter) revert StillAlive(id, staleAfter);
        _deactivate(id, record, MemberStatus.Stale);
    }

    /// @notice Pays the caller the stakes of members it owned and that have left. Emits Withdrawn.
    function withdrawStake() external {
        _withdraw(msg.sender);
    }

    function withdrawableStakeOf(address owner) external view returns (uint256 amountWei) {
        return _creditOf(owner);
    }

    /// @notice The active set, ascending by id.
    function members() external view returns (Member[] memory list) {
        list = new Member[](_active.length);
        for (uint256 i = 0; i < list.length; i++) list[i] = memberOf(_active[i]);
    }

    /// @notice keccak256 over the leaves of the active set of that version, ascending by id; zero for a version to come.
    function membershipHash(uint64 version_) external view returns (bytes32) {
        return _hashes[version_];
    }

    /// @notice Id of the member that `owner` owns; 0 for none.
    function memberByOwner(address owner) external view returns (uint32 id) {
        return _idOfOwner[owner];
    }

    /// @notice Any member that ever was; status None for an unknown id.
    function memberOf(uint32 id) public view returns (Member memory member) {
        Record storage record = _records[id];
        member.id = id;
        member.owner = record.owner;
        member.signer = record.signer;
        member.endpoint = record.endpoint;
        member.domain = record.domain;
        member.weight = _weightOf(record);
        member.capacitySegments = record.capacitySegments;
        member.stake = record.stake;
        member.lastHeartbeat = record.lastHeartbeat;
        member.status = record.status;
    }

    function _own() private view returns (uint32 id, Record storage record) {
        id = _idOfOwner[msg.sender];
        if (id == 0) revert NotMember(msg.sender);
        record = _records[id];
    }

    /// Checks and stores what the owner says about its member, stake included.
    function _describe(
        uint32 id,
        Record storage record,
        address signer,
        string calldata endpoint,
        bytes32 domain,
        uint64 capacitySegments
    ) private {
        if (signer == address(0)) revert SignerInvalid(signer);
        uint32 taken = _idOfSigner[signer];
        if (taken != 0 && taken != id) revert SignerTaken(signer, taken);
        uint256 endpointSize = bytes(endpoint).length;
        if (endpointSize == 0 || endpointSize > ENDPOINT_BYTES_MAX) {
            revert EndpointInvalid(endpointSize, ENDPOINT_BYTES_MAX);
        }
        if (capacitySegments == 0) revert CapacityInvalid(capacitySegments);
        uint256 stake = record.stake + msg.value;
        if (stake < stakePerSegmentWei) revert StakeTooLow(stake, stakePerSegmentWei);

        if (record.signer != signer) {
            delete _idOfSigner[record.signer];
            _idOfSigner[signer] = id;
            record.signer = signer;
        }
        record.endpoint = endpoint;
        record.domain = domain;
        record.capacitySegments = capacitySegments;
        record.stake = stake.toUint128();
        record.leaf = keccak256(abi.encode(id, signer, keccak256(bytes(endpoint)), domain, _weightOf(record)));
    }

    /// Capacity is what the owner says, so it must cost something: it counts as far as the stake covers it.
    function _weightOf(Record storage record) private view returns (uint256) {
        return Math.min(record.capacitySegments, record.stake / stakePerSegmentWei);
    }

    /// Inserts the id in order: new ids go to the end, a returning one moves those behind it.
    function _activate(uint32 id, Record storage record) private {
        uint256 count = _active.length;
        if (count >= MEMBERS_MAX) revert MembersFull(MEMBERS_MAX);
        record.status = MemberStatus.Active;
        _active.push(id);
        for (uint256 i = count; i > 0 && _active[i - 1] > id; i--) {
            _active[i] = _active[i - 1];
            _active[i - 1] = id;
        }
        _commit(id, record);
    }

    function _deactivate(uint32 id, Record storage record, MemberStatus status) private {
        record.status = status;
        uint256 last = _active.length - 1;
        uint256 i = 0;
        while (_active[i] != id) i++;
        for (; i < last; i++) _active[i] = _active[i + 1];
        _active.pop();
        _commit(id, record);
    }

    /// The active set has changed: next version, its hash, the event.
    function _commit(uint32 id, Record storage record) private {
        uint64 next = ++version;
        uint256 count = _active.length;
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) leaves[i] = _records[_active[i]].leaf;
        _hashes[next] = keccak256(abi.encodePacked(leaves));
        emit MemberChanged(
            next,
            id,
            record.signer,
            record.endpoint,
            record.domain,
            _weightOf(record),
            uint8(record.status)
        );
    }
}
