// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlEnumerable} from "@openzeppelin/contracts/access/extensions/AccessControlEnumerable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {IReward} from "../reward/IReward.sol";
import {IMarket} from "./IMarket.sol";

/// @title One price per sector, passed on whole to the reward pool (spec/storage.md 2.5).
/// @dev Holds money only between the two calls that Flow makes in one transaction.
contract FixedPrice is IMarket, AccessControlEnumerable, Initializable {
    /// May change the price.
    bytes32 public constant PARAMS_ADMIN_ROLE = keccak256("PARAMS_ADMIN_ROLE");

    uint256 public pricePerSector;
    address public flow;
    address public reward;

    event PricePerSectorChanged(uint256 pricePerSector);

    /// Only the deployer can initialise: nobody can slip in between deployment and initialisation.
    constructor() {
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
        _grantRole(PARAMS_ADMIN_ROLE, msg.sender);
    }

    /// The fee of one transaction, from Flow alone; anyone else's money would become a gift to the pool.
    receive() external payable {
        require(msg.sender == flow, "Sender does not have permission");
    }

    /// @notice Once, by the deployer. Emits PricePerSectorChanged and Initialized.
    function initialize(
        uint256 pricePerSector_,
        address flow_,
        address reward_
    ) external onlyRole(DEFAULT_ADMIN_ROLE) initializer {
        flow = flow_;
        reward = reward_;
        _setPricePerSector(pricePerSector_);
    }

    /// @notice PARAMS_ADMIN_ROLE. Takes effect for the next submission; what is locked already stays as it is.
    function setPricePerSector(uint256 pricePerSector_) external onlyRole(PARAMS_ADMIN_ROLE) {
        _setPricePerSector(pricePerSector_);
    }

    /// @notice Flow only: locks the fee it has just sent.
    /// @dev The reference splits the fee into a padding part and an upload part, in proportion. Both parts have the same
    /// density per sector, so one call over the whole range books the same and its gas does not depend on padding.
    /// The whole balance goes: wei forced into this contract are a bonus of the pool and never stay here.
    function chargeFee(uint256 beforeLength, uint256 uploadSectors, uint256 paddingSectors) external {
        require(msg.sender == flow, "Sender does not have permission");
        uint256 balance = address(this).balance;
        require(pricePerSector * uploadSectors <= balance, "Not enough paid fee");
        IReward(reward).fillReward{value: balance}(beforeLength, uploadSectors + paddingSectors);
    }

    function _setPricePerSector(uint256 pricePerSector_) private {
        pricePerSector = pricePerSector_;
        emit PricePerSectorChanged(pricePerSector_);
    }
}
