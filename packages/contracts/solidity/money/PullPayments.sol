// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Money owed to people, taken out by themselves.
/// @dev Nothing is ever pushed: a receiver that reverts or burns gas harms only itself. The credit is zero before the
/// call goes out, so a receiver that calls back finds nothing (reentrancy).
abstract contract PullPayments {
    mapping(address payee => uint256 amountWei) private _credits;

    /// The payee has no credit.
    error NothingToWithdraw(address payee);
    /// The payee refused the money.
    error FailedInnerCall();
    /// Never seen while the books are right: a credit above the contract's balance.
    error AddressInsufficientBalance(address account);

    event Credited(address indexed payee, uint256 amountWei);
    event Withdrawn(address indexed payee, uint256 amountWei);

    function _creditOf(address payee) internal view returns (uint256) {
        return _credits[payee];
    }

    function _credit(address payee, uint256 amountWei) internal {
        if (amountWei == 0) return;
        _credits[payee] += amountWei;
        emit Credited(payee, amountWei);
    }

    function _withdraw(address payee) internal {
        uint256 amountWei = _credits[payee];
        if (amountWei == 0) revert NothingToWithdraw(payee);
        if (address(this).balance < amountWei) revert AddressInsufficientBalance(address(this));
        _credits[payee] = 0;
        emit Withdrawn(payee, amountWei);
        (bool accepted, ) = payee.call{value: amountWei}("");
        if (!accepted) revert FailedInnerCall();
    }
}
