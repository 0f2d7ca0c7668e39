// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What a price market needs of a reward pool.
interface IReward {
    /// Locks the value over the chunks [beforeLength, beforeLength + chargedSectors).
    function fillReward(uint256 beforeLength, uint256 chargedSectors) external payable;
}
