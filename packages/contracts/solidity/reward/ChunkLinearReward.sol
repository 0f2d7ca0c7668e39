// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlEnumerable} from "@openzeppelin/contracts/access/extensions/AccessControlEnumerable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {PullPayments} from "../money/PullPayments.sol";
import {IReward} from "./IReward.sol";

/// One pricing chunk of 8 GiB. The three sums together are all it was ever given.
struct RewardItem {
    uint128 lockedReward;
    uint128 claimableReward;
    uint128 distributedReward;
    /// When the flow passed the end of the chunk; zero before.
    uint40 startTime;
    uint40 lastUpdate;
}

/// @title Fees of storage, locked per 8 GiB of the flow and released linearly to who proves it (spec/storage.md 2.9).
/// @dev The balance is always Σ(locked + claimable) + base pool + credits. There is no way out of it but a claim by `mine`
/// and the withdrawal of a credit.
///
/// Order of payouts (audit finding 4.2): a claim pays half of what is claimable at that time, so of an amount released at
/// once n claims pay 1/2, 3/4, 7/8, … of it, and the same claims spread over time pay another sum. The rule is the
/// reference's and kept: what one claim leaves is there for the next one, whoever makes it, and nothing is lost.
contract ChunkLinearReward is IReward, AccessControlEnumerable, Initializable, PullPayments {
    using SafeCast for uint256;

    /// Chunks of 256 bytes in one pricing chunk of 8 GiB.
    uint256 public constant SECTORS_PER_PRICE = 1 << 25;
    /// The share of fees that the treasury may take: a fifth. A higher one would be a drain by another name.
    uint256 public constant SERVICE_FEE_BPS_MAX = 2_000;
    uint256 private constant BPS = 10_000;

    uint256 public immutable releaseSeconds;
    address public market;
    address public mine;
    address public foundationAdmin;
    address public treasury;
    uint256 public serviceFeeRateBps;
    uint256 public baseReward;
    uint256 public totalBaseReward;
    mapping(uint256 pricingIndex => RewardItem) private _rewards;

    error ReleaseSecondsInvalid();
    error SectorsInvalid();
    error RewardAlreadyStarted(uint256 pricingIndex);
    error ServiceFeeInvalid(uint256 bps, uint256 max);
    error AddressInvalid();

    event DistributeReward(
        uint256 indexed pricingIndex,
        address indexed beneficiary,
        bytes32 indexed minerId,
        uint256 amount
    );
    event RewardLocked(uint256 beforeLength, uint256 chargedSectors, uint256 amountWei);
    event Donated(address indexed donor, uint256 amountWei);
    event BaseRewardChanged(uint256 baseReward);
    event FoundationAdminChanged(address foundationAdmin);
    event ServiceFeeRateChanged(uint256 bps);
    event TreasuryChanged(address treasury);

    modifier onlyFrom(address permitted) {
        require(msg.sender == permitted, "Sender does not have permission");
        _;
    }

    /// Only the deployer can initialise: nobody can slip in between deployment and initialisation.
    constructor(uint256 releaseSeconds_) {
        if (releaseSeconds_ == 0) revert ReleaseSecondsInvalid();
        releaseSeconds = releaseSeconds_;
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    /// @notice Once, by the deployer. The foundation admin is the first treasury.
    function initialize(
        address market_,
        address mine_,
        address foundationAdmin_
    ) external onlyRole(DEFAULT_ADMIN_ROLE) initializer {
        market = market_;
        mine = mine_;
        _setFoundationAdmin(foundationAdmin_);
        _setTreasury(foundationAdmin_);
    }

    /// @notice Market only: locks the value, less the service fee, over [beforeLength, beforeLength + chargedSectors).
    /// Emits RewardLocked, and Credited for the service fee.
    /// @dev One path for one chunk and for many: each gets the share of the sectors up to its end, less what was given
    /// before, so the parts always add up to the whole (audit finding 3.1 credited the fee twice on a branch of its own).
    /// The loop is as long as the submission that pays for it: one turn per 8 GiB.
    function fillReward(uint256 beforeLength, uint256 chargedSectors) external payable onlyFrom(market) {
        if (chargedSectors == 0) revert SectorsInvalid();
        uint256 serviceFee = (msg.value * serviceFeeRateBps) / BPS;
        _credit(treasury, serviceFee);
        uint256 rest = msg.value - serviceFee;

        uint256 end = beforeLength + chargedSectors;
        uint256 given = 0;
        for (uint256 index = beforeLength / SECTORS_PER_PRICE; index * SECTORS_PER_PRICE < end; index++) {
            uint256 stop = Math.min((index + 1) * SECTORS_PER_PRICE, end);
            uint256 due = Math.mulDiv(rest, stop - beforeLength, chargedSectors);
            _lock(index, due - given, stop == (index + 1) * SECTORS_PER_PRICE);
            given = due;
        }
        emit RewardLocked(beforeLength, chargedSectors, rest);
    }

    /// @notice Mine only: releases what is due of the pricing chunk and credits half of what is claimable, plus the base
    /// reward while the chunk is paid for. Emits DistributeReward and Credited.
    function claimMineReward(uint256 pricingIndex, address beneficiary, bytes32 minerID) external onlyFrom(mine) {
        RewardItem storage item = _rewards[pricingIndex];
        if (item.startTime == 0) return;

        uint256 released = _releaseOf(item);
        uint256 claimable = item.claimableReward + released;
        uint256 amountWei = claimable / 2;
        item.lockedReward -= released.toUint128();
        item.claimableReward = (claimable - amountWei).toUint128();
        item.distributedReward += amountWei.toUint128();
        item.lastUpdate = block.timestamp.toUint40();

        if (item.startTime + releaseSeconds > block.timestamp) {
            uint256 base = Math.min(totalBaseReward, baseReward);
            totalBaseReward -= base;
            amountWei += base;
        }
        _credit(beneficiary, amountWei);
        emit DistributeReward(pricingIndex, beneficiary, minerID, amountWei);
    }

    /// @notice Adds to the pool of base rewards. Anyone. Emits Donated.
    function donate() external payable {
        totalBaseReward += msg.value;
        emit Donated(msg.sender, msg.value);
    }

    /// @notice Pays `payee` its credit. Anyone may call; the money goes to `payee` alone. Emits Withdrawn.
    function withdrawPayments(address payee) external {
        _withdraw(payee);
    }

    /// @notice DEFAULT_ADMIN_ROLE: wei added to each later claim while the pool lasts. Emits BaseRewardChanged.
    function setBaseReward(uint256 baseReward_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        baseReward = baseReward_;
        emit BaseRewardChanged(baseReward_);
    }

    /// @notice Foundation admin: hands its role on. Emits FoundationAdminChanged.
    function setFoundationAdmin(address foundationAdmin_) external onlyFrom(foundationAdmin) {
        _setFoundationAdmin(foundationAdmin_);
    }

    /// @notice Foundation admin: share of later fees, SERVICE_FEE_BPS_MAX at most. Emits ServiceFeeRateChanged.
    function setServiceFeeRate(uint256 bps) external onlyFrom(foundationAdmin) {
        if (bps > SERVICE_FEE_BPS_MAX) revert ServiceFeeInvalid(bps, SERVICE_FEE_BPS_MAX);
        serviceFeeRateBps = bps;
        emit ServiceFeeRateChanged(bps);
    }

    /// @notice Foundation admin: who gets later service fees; what is credited stays with the old one. Emits TreasuryChanged.
    function setTreasury(address treasury_) external onlyFrom(foundationAdmin) {
        _setTreasury(treasury_);
    }

    /// @notice The credit of `dest`, in wei.
    function payments(address dest) external view returns (uint256) {
        return _creditOf(dest);
    }

    function rewards(uint256 id) external view returns (RewardItem memory) {
        return _rewards[id];
    }

    /// @notice The first pricing chunk that is not past its term, and its deadline (0: still open). Nodes prune below it.
    /// @dev Deadlines rise with the index, so doubling and halving finds it in 2·log2(index) reads.
    function firstRewardableChunk() external view returns (uint64, uint256) {
        uint256 high = 1;
        while (_isPast(high - 1)) high *= 2;
        uint256 low = high / 2;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_isPast(middle)) low = middle + 1;
            else high = middle;
        }
        return (low.toUint64(), rewardDeadline(low));
    }

    /// @notice End of the paid term of a pricing chunk, in seconds since 1970; 0 while the flow has not passed its end.
    function rewardDeadline(uint256 pricingIndex) public view returns (uint256) {
        uint256 startTime = _rewards[pricingIndex].startTime;
        return startTime == 0 ? 0 : startTime + releaseSeconds;
    }

    function _isPast(uint256 pricingIndex) private view returns (bool) {
        uint256 deadline = rewardDeadline(pricingIndex);
        return deadline != 0 && deadline <= block.timestamp;
    }

    function _lock(uint256 pricingIndex, uint256 amountWei, bool completes) private {
        RewardItem storage item = _rewards[pricingIndex];
        if (item.startTime != 0) revert RewardAlreadyStarted(pricingIndex);
        item.lockedReward += amountWei.toUint128();
        if (!completes) return;
        item.startTime = block.timestamp.toUint40();
        item.lastUpdate = block.timestamp.toUint40();
    }

    /// What the linear schedule owes by now, beyond what has left `locked` before.
    function _releaseOf(RewardItem storage item) private view returns (uint256) {
        uint256 left = uint256(item.claimableReward) + item.distributedReward;
        uint256 total = item.lockedReward + left;
        uint256 elapsed = Math.min(block.timestamp - item.startTime, releaseSeconds);
        uint256 expected = Math.mulDiv(total, elapsed, releaseSeconds);
        return expected > left ? expected - left : 0;
    }

    function _setFoundationAdmin(address foundationAdmin_) private {
        if (foundationAdmin_ == address(0)) revert AddressInvalid();
        foundationAdmin = foundationAdmin_;
        emit FoundationAdminChanged(foundationAdmin_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert AddressInvalid();
        treasury = treasury_;
        emit TreasuryChanged(treasury_);
    }
}
