// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {MineContext} from "../flow/EpochContexts.sol";

/// Parameters of the reference's PoraMine: accepted, so that the deployment order and selector stay, and not used.
struct MineParams {
    uint256 difficulty;
    uint256 targetMineBlocks;
    uint256 targetSubmissions;
    uint64 maxShards;
    uint256 nSubtasks;
    uint256 subtaskInterval;
}

/// What a worker polls for.
struct WorkerContext {
    MineContext context;
    uint256 poraTarget;
    bytes32 subtaskDigest;
    uint64 maxShards;
}

/// @title The seat of the miner in the graph of contracts, empty: it knows no call to the reward pool, so it can never claim.
/// @dev Speaks the part of PoraMine's ABI that says "not now": a polling miner sees the target 0 and waits.
contract Mine is Initializable {
    address private immutable _deployer;
    address public flow;
    address public reward;

    error NotDeployer(address caller);

    constructor() {
        _deployer = msg.sender;
    }

    /// @notice Once, by the deployer, before the market. Emits Initialized.
    function initialize(address flow_, address reward_, MineParams calldata) external initializer {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        flow = flow_;
        reward = reward_;
    }

    /// @notice Nothing to mine: an empty context, and the target 0 that miners read as "not now".
    function computeWorkerContext(bytes32) external pure returns (WorkerContext memory answer) {
        return answer;
    }

    function canSubmit() external pure returns (bool) {
        return false;
    }

    function poraTarget() external pure returns (uint256) {
        return 0;
    }

    function poraVersion() external pure returns (uint64) {
        return 1;
    }
}
