// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What Flow needs of a price market.
interface IMarket {
    function pricePerSector() external view returns (uint256 priceWei);

    /// The fee has been sent before. `uploadSectors` are paid for, `paddingSectors` before them are not.
    function chargeFee(uint256 beforeLength, uint256 uploadSectors, uint256 paddingSectors) external;
}
