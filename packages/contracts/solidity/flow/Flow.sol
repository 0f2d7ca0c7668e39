// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlEnumerable} from "@openzeppelin/contracts/access/extensions/AccessControlEnumerable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IMarket} from "../market/IMarket.sol";
import {PullPayments} from "../money/PullPayments.sol";
import {EpochContexts} from "./EpochContexts.sol";
import {FlowTree, TREE_SLOTS} from "./FlowTree.sol";
import {Submission, SubmissionData, SubmissionRules} from "./Submission.sol";

/// @title The log: it decides the order and the price of every entry, and commits to all of them in one root.
/// @dev Speaks both generations of the submission ABI (spec/storage.md 2.1). Immutable: no proxy, no admin function moves
/// money. A fee is at most the value of its own transaction; what is above it is credited to the payer.
contract Flow is AccessControlEnumerable, Initializable, Pausable, EpochContexts, PullPayments {
    using FlowTree for FlowTree.Cursor;
    using SafeCast for uint256;
    using SubmissionRules for SubmissionData;

    /// May pause and unpause submissions.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// Entries in one batch: 64 files of four nodes and 4096 bytes of tags each take 13.4 million gas, below half a block
    /// of 30 million and below the 2^24 that EIP-7825 allows a transaction. A plain entry takes 51 000.
    uint256 public constant BATCH_ENTRIES_MAX = 64;
    /// The gas a submission must bring, see _requireBudget. Measured in flow.gas.test.ts: at most 200 000 for one entry, and
    /// 260 000 for two epochs that end with it; a deeper tree adds 2 300 per doubling.
    uint256 private constant BUDGET_GAS = 500_000;
    uint256 private constant BUDGET_GAS_PER_ENTRY = 60_000;
    /// The event repeats the calldata at 8 gas per byte and needs memory for it.
    uint256 private constant BUDGET_GAS_PER_BYTE = 12;
    /// Chunks covered by one reward item (8 GiB), and the gas of opening and completing one.
    uint256 private constant SECTORS_PER_PRICE = 1 << 25;
    uint256 private constant BUDGET_GAS_PER_PRICE = 60_000;

    uint256 public immutable deployDelay;
    address public market;
    uint128 private _length = 1;
    uint64 private _submissions;
    bytes32[TREE_SLOTS] private _frontier;
    mapping(uint256 index => bytes32 root) private _rootByTxSeq;

    /// Value below price × sectors: all three as used, in wei, sectors and wei.
    error NotEnoughFee(uint256 price, uint256 amount, uint256 paid);
    /// Part of the reference's ABI, which reverts with the string "Invalid submission" instead, as we do.
    error InvalidSubmission();
    /// A batch has 1 to `max` entries.
    error BatchSizeInvalid(uint256 count, uint256 max);
    /// The gas left is below what this submission could cost if other entries land first.
    error GasBelowBudget(uint256 left, uint256 needed);
    /// Each parameter can be set only while it is zero, and initialisation leaves none at zero.
    error ParamsAlreadySet();
    error MarketInvalid();

    /// `sectorCount` is called `length` in the reference; the topic does not depend on names.
    event Submit(
        address indexed sender,
        bytes32 indexed identity,
        uint256 submissionIndex,
        uint256 startPos,
        uint256 sectorCount,
        SubmissionData submission
    );

    /// What one transaction does to the flow.
    struct Session {
        FlowTree.Cursor tree;
        uint256 sectors;
        uint256 lengthBefore;
        uint256 index;
    }

    struct Placed {
        uint256 index;
        bytes32 identity;
        uint256 start;
        uint256 sectors;
    }

    modifier whenOpen() {
        _requireNotPaused();
        require(_launched(), "Contract has not launched.");
        _;
    }

    /// Only the deployer can initialise: nobody can slip in between deployment and initialisation.
    constructor(uint256 deployDelay_) {
        deployDelay = deployDelay_;
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
        _grantRole(PAUSER_ROLE, msg.sender);
    }

    /// @notice Once, by the deployer, after the market. Creates the root history. Submissions open `deployDelay` blocks later.
    function initialize(address market_, uint256 blocksPerEpoch_) external onlyRole(DEFAULT_ADMIN_ROLE) initializer {
        if (market_ == address(0)) revert MarketInvalid();
        market = market_;
        _startEpochs(block.number + deployDelay, blocksPerEpoch_);
        FlowTree.prepare(_frontier);
    }

    /// @notice Of the reference's ABI: sets what is still zero. Here initialisation has set everything, so it reverts.
    function setParams(uint256, uint256, address) external pure {
        revert ParamsAlreadySet();
    }

    /// @notice PAUSER_ROLE. Stops submissions, never withdrawals. Emits Paused.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice PAUSER_ROLE. Emits Unpaused.
    function unpause() external onlyRole(PAUSER_ROLE) {
        _unpause();
    }

    /// @notice Appends one entry for `submitter`. Anyone; pays price × sectors, the surplus is credited to the payer.
    /// Emits Submit. Reverts with "Invalid submission", NotEnoughFee, EnforcedPause or "Contract has not launched.".
    function submit(
        Submission calldata submission
    ) external payable whenOpen returns (uint256 index, bytes32 digest, uint256 startIndex, uint256 length) {
        return _submit(submission.data, _requireSubmitter(submission));
    }

    /// @notice The older ABI: the entry belongs to the payer.
    function submit(
        SubmissionData calldata submission
    ) external payable whenOpen returns (uint256 index, bytes32 digest, uint256 startIndex, uint256 length) {
        return _submit(submission, msg.sender);
    }

    /// @notice Appends 1 to BATCH_ENTRIES_MAX entries in order: one fee, one credit, one booking for all of them.
    function batchSubmit(
        Submission[] calldata submissions
    )
        external
        payable
        whenOpen
        returns (uint256[] memory indexes, bytes32[] memory digests, uint256[] memory startIndexes, uint256[] memory lengths)
    {
        uint256 count = _requireBatch(submissions.length);
        uint256 sectors = 0;
        for (uint256 i = 0; i < count; i++) {
            _requireSubmitter(submissions[i]);
            sectors += submissions[i].data.sectorsOf();
        }

        Session memory session = _begin(sectors, count);
        Placed[] memory placed = new Placed[](count);
        for (uint256 i = 0; i < count; i++) placed[i] = _append(session, submissions[i].data);
        _finish(session);

        for (uint256 i = 0; i < count; i++) _emitSubmit(submissions[i].submitter, placed[i], submissions[i].data);
        return _columns(placed);
    }

    /// @notice The older ABI of batchSubmit: the entries belong to the payer.
    function batchSubmit(
        SubmissionData[] calldata submissions
    )
        external
        payable
        whenOpen
        returns (uint256[] memory indexes, bytes32[] memory digests, uint256[] memory startIndexes, uint256[] memory lengths)
    {
        uint256 count = _requireBatch(submissions.length);
        uint256 sectors = 0;
        for (uint256 i = 0; i < count; i++) sectors += submissions[i].sectorsOf();

        Session memory session = _begin(sectors, count);
        Placed[] memory placed = new Placed[](count);
        for (uint256 i = 0; i < count; i++) placed[i] = _append(session, submissions[i]);
        _finish(session);

        for (uint256 i = 0; i < count; i++) _emitSubmit(msg.sender, placed[i], submissions[i]);
        return _columns(placed);
    }

    /// @notice Pays the caller what it paid above the fees of its submissions. Works while paused. Emits Withdrawn.
    function withdrawSurplus() external {
        _withdraw(msg.sender);
    }

    function surplusOf(address payer) external view returns (uint256 amountWei) {
        return _creditOf(payer);
    }

    function submissionIndex() external view returns (uint256) {
        return _submissions;
    }

    function numSubmissions() external view returns (uint256) {
        return _submissions;
    }

    /// @notice The flow root right after that submission; zero for one that does not exist.
    function getFlowRootByTxSeq(uint256 txSeq) external view returns (bytes32) {
        return _rootByTxSeq[txSeq];
    }

    /// @notice `unstagedHeight` belongs to the reference's way of storing the tree and is 0 here.
    function tree() external view returns (uint256 currentLength, uint256 unstagedHeight) {
        return (_length, 0);
    }

    /// @notice The root, computed from the frontier.
    function computeFlowRoot() external view returns (bytes32) {
        return FlowTree.open(_length).root(_frontier);
    }

    function _flowRoot() internal view override returns (bytes32) {
        return _submissions == 0 ? bytes32(0) : _rootByTxSeq[_submissions - 1];
    }

    function _flowLength() internal view override returns (uint256) {
        return _length;
    }

    function _flowSubmissions() internal view override returns (uint256) {
        return _submissions;
    }

    function _submit(
        SubmissionData calldata data,
        address submitter
    ) private returns (uint256, bytes32, uint256, uint256) {
        Session memory session = _begin(data.sectorsOf(), 1);
        Placed memory placed = _append(session, data);
        _finish(session);
        _emitSubmit(submitter, placed, data);
        return (placed.index, placed.identity, placed.start, placed.sectors);
    }

    /// Takes the fee and credits the surplus, then closes ended epochs before the tree changes.
    function _begin(uint256 sectors, uint256 count) private returns (Session memory session) {
        _requireBudget(sectors, count);
        session.sectors = sectors;

        uint256 price = IMarket(market).pricePerSector();
        uint256 feeWei = price * sectors;
        if (msg.value < feeWei) revert NotEnoughFee(price, sectors, msg.value);
        _credit(msg.sender, msg.value - feeWei);
        (bool accepted, ) = market.call{value: feeWei}("");
        if (!accepted) revert FailedInnerCall();

        _closeEpochs(EPOCHS_PER_SUBMIT_MAX);
        session.lengthBefore = _length;
        session.index = _submissions;
        session.tree = FlowTree.open(session.lengthBefore);
    }

    function _append(Session memory session, SubmissionData calldata data) private returns (Placed memory placed) {
        placed.index = session.index++;
        placed.sectors = data.sectorsOf();
        placed.start = session.tree.append(_frontier, data.nodes, placed.sectors);
        placed.identity = data.identityOf();
        _rootByTxSeq[placed.index] = session.tree.root(_frontier);
    }

    function _finish(Session memory session) private {
        session.tree.close(_frontier);
        uint256 length = session.tree.length;
        _length = length.toUint128();
        _submissions = session.index.toUint64();
        uint256 padding = length - session.lengthBefore - session.sectors;
        IMarket(market).chargeFee(session.lengthBefore, session.sectors, padding);
    }

    function _emitSubmit(address submitter, Placed memory placed, SubmissionData calldata data) private {
        emit Submit(submitter, placed.identity, placed.index, placed.start, placed.sectors, data);
    }

    /// @dev Official clients send exactly what eth_estimateGas says, and their transaction may land behind others or behind
    /// the end of an epoch, where it costs more; running out of gas there hangs them for ever (spec/storage.md 11.1).
    /// So a submission must bring, at this point, enough for the worst state. All that comes before is the same in every
    /// state, so the estimate is too. Only gas that was used is paid.
    function _requireBudget(uint256 sectors, uint256 count) private view {
        uint256 budget = BUDGET_GAS + count * BUDGET_GAS_PER_ENTRY + msg.data.length * BUDGET_GAS_PER_BYTE
            + (sectors / SECTORS_PER_PRICE) * BUDGET_GAS_PER_PRICE;
        if (gasleft() < budget) revert GasBelowBudget(gasleft(), budget);
    }

    function _requireSubmitter(Submission calldata submission) private pure returns (address submitter) {
        submitter = submission.submitter;
        require(submitter != address(0), "Invalid submission");
    }

    function _requireBatch(uint256 count) private pure returns (uint256) {
        if (count == 0 || count > BATCH_ENTRIES_MAX) revert BatchSizeInvalid(count, BATCH_ENTRIES_MAX);
        return count;
    }

    function _columns(
        Placed[] memory placed
    )
        private
        pure
        returns (uint256[] memory indexes, bytes32[] memory digests, uint256[] memory starts, uint256[] memory lengths)
    {
        uint256 count = placed.length;
        indexes = new uint256[](count);
        digests = new bytes32[](count);
        starts = new uint256[](count);
        lengths = new uint256[](count);
        for (uint256 i = 0; i < count; i++) {
            indexes[i] = placed[i].index;
            digests[i] = placed[i].identity;
            starts[i] = placed[i].start;
            lengths[i] = placed[i].sectors;
        }
    }
}
