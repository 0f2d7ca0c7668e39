// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A payee that does the worst it can with the moment in which it is paid. For tests only.
contract Reentrant {
    address private _target;
    bytes private _again;
    bool public refuses;
    uint256 public attempts;
    uint256 public successes;

    receive() external payable {
        require(!refuses, "no money please");
        if (_target == address(0)) return;
        attempts++;
        (bool accepted, ) = _target.call(_again);
        if (accepted) successes++;
    }

    function arm(address target, bytes calldata again, bool refuses_) external {
        _target = target;
        _again = again;
        refuses = refuses_;
    }

    function run(address to, bytes calldata data) external payable {
        (bool accepted, bytes memory answer) = to.call{value: msg.value}(data);
        if (!accepted) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    /// Money that no contract can refuse.
    function force(address payable to) external payable {
        new Forced{value: msg.value}(to);
    }
}

contract Forced {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}
