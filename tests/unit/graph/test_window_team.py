"""Rounds of several processes, without a cluster: the bits and the counts of one process, also where some are lost."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from daskmgrit.errors import PropagatorError
from daskmgrit.graph import exchange, window_rounds, window_tasks, window_team
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size
from daskmgrit.recurrence.serial import train_serially
from tests.support.network import Network
from tests.unit.newton.test_iteration import training

STEPS = 31


@pytest.fixture
def network(monkeypatch):
    network = Network()
    network.use(monkeypatch)
    monkeypatch.setattr(window_rounds, "FIRST", 20.0)
    monkeypatch.setattr(window_rounds, "AGAIN", 20.0)
    monkeypatch.setattr(window_rounds, "LEADER", 20.0)
    yield network
    network.close()


class Solve:
    """Does the rounds of a solve, one task for each process, on a thread each."""

    def __init__(self, network, phi, w0, method, threads, run, silence=60.0, addresses=None):
        self.addresses = addresses or [f"w{member}" for member in range(len(threads))]
        self.network, self.phi, self.method, self.threads = network, phi, method, threads
        self.run, self.silence, self.number = run, silence, 0
        self.pool = ThreadPoolExecutor(len(threads))
        begin = network.run(self.pool, self.addresses[0], window_tasks.start, phi, w0, method, True).result(20)
        self.state, self.head = [begin] * len(threads), begin
        self.reports, self.records = [], []

    def round(self, count, present=None, phis=None):
        """Do a round of `count` sweeps by the processes that are present."""
        return self.end(self.start(count, present, phis))

    def start(self, count, present=None, phis=None):
        """Begin a round; return the task of each process."""
        asked = self.asked = []
        for member in range(len(self.threads)):
            if present is not None and member not in present:
                continue
            phi = (phis or {}).get(member, self.phi)
            last = self.threads[member], self.run, self.silence
            if member == 0:
                args = self.state[0], count, self.number, self.threads, self.run, False, self.silence
                function, args = window_rounds.lead, (phi, self.method, *args)
            else:
                args = self.state[member], self.head, self.number, member, *last
                function, args = window_rounds.follow, (phi, self.method, *args)
            asked.append((member, self.network.run(self.pool, self.addresses[member], function, *args)))
        self.number += 1
        return list(asked)

    def end(self, asked):
        """Wait for the tasks of a round; return their errors."""
        errors, self.failed = [], {}
        for member, future in asked:
            if (error := future.exception(60)) is not None:
                errors.append(error)
                self.failed[member] = error
            else:
                self.state[member] = future.result()
        if 0 in self.failed:
            return errors
        self.head = window_tasks.tell(self.method, self.state[0])
        self.reports += self.head.reports
        self.records += self.head.records
        return errors

    @property
    def over(self):
        return self.head.over(STEPS) if isinstance(self.head, window_tasks.Carrier) else self.head.over

    def assert_same(self, expected):
        assert self.reports == expected.sweeps
        assert np.array_equal(window_tasks.final(self.state[0]), expected.final)


def digits(jacobian="identity", interval=1, optimizer="adam", window=5):
    phi, w0 = training(2, optimizer, 0.02)
    return phi, w0, NewtonSettings(STEPS, 1e-7, jacobian, choose_size(window, jacobian), interval=interval, rank=2)


@pytest.mark.parametrize("threads", [(1, 1), (2, 1, 3), (1, 1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("count", [1, 4, 100])
@pytest.mark.parametrize(
    ("optimizer", "jacobian", "interval"),
    [
        ("adam", "identity", 1),
        ("adam", "identity", 2),
        ("adam", "identity", 3),
        ("descent", "identity", 2),
        ("adam", "lowrank", 1),
        ("descent", "full", 1),
    ],
)
def test_bits_of_one_process(network, threads, count, optimizer, jacobian, interval):
    phi, w0, method = digits(jacobian, interval, optimizer)
    expected = solve_in_one_process(phi, w0, method)
    solve = Solve(network, phi, w0, method, threads, f"{threads} {jacobian} {interval} {count}")
    while not solve.over:
        assert not solve.round(count)
        assert len({state.carrier.sweeps for state in solve.state}) == 1
    solve.assert_same(expected)
    assert sum(record.evaluations for record in solve.records) == expected.phi_evaluations
    for share in solve.state:
        assert np.array_equal(window_tasks.final(share), expected.final)
    # Nothing is kept.
    network.settle()
    assert all(not each._rooms for each in network.exchanges.values())


def test_an_evaluation_takes_one_message(network, monkeypatch):
    """To each of the others; a watch is a question for each of them, however many sweeps a round has."""
    monkeypatch.setattr(exchange, "TURN", 60.0)
    phi, w0, method = digits(window=6)
    solve = Solve(network, phi, w0, method, (1, 1, 1), "messages")
    solve.round(4)
    network.settle()
    crew = [told for told in network.told if told[1] == window_rounds.CREW]
    assert sorted(crew) == [("w1", "crew"), ("w2", "crew")]
    assert len(network.told) - len(crew) == 4 * 3 * 2
    assert len(network.asked) == 3 * 2


def test_gradients_travel_alone(network, monkeypatch):
    """Where the update follows from them: the state with its moments is three times as large."""
    phi, w0, method = digits(window=6)
    sent, send = [], exchange.Room.send

    def noted(room, others, key, value):
        if isinstance(value, window_team.Part):
            sent.append(sum(rows.nbytes for rows in value.rows))
        send(room, others, key, value)

    monkeypatch.setattr(exchange.Room, "send", noted)
    Solve(network, phi, w0, method, (1, 1), "alone").round(1)
    assert sent == [3 * w0.nbytes / 3] * 2


def test_the_last_report_brings_a_small_final_state(network, monkeypatch):
    """So nothing else is fetched then."""
    phi, w0, method = digits()
    solve = Solve(network, phi, w0, method, (1, 1), "last")
    while not solve.over:
        assert isinstance(solve.head, window_tasks.Carrier) or solve.head.final is None
        solve.round(4)
    assert np.array_equal(solve.head.final, window_tasks.final(solve.state[0]))
    monkeypatch.setattr(window_tasks, "LARGE", w0.nbytes)
    assert window_tasks.tell(method, solve.state[0]).final is None


def test_who_does_not_come_is_done_without_and_may_come_later(network, monkeypatch):
    phi, w0, method = digits()
    monkeypatch.setattr(window_rounds, "FIRST", 0.01)
    monkeypatch.setattr(window_rounds, "AGAIN", 0.01)
    expected = solve_in_one_process(phi, w0, method)
    solve = Solve(network, phi, w0, method, (1, 1, 1), "absent")
    solve.round(2, present={0, 2})
    assert solve.state[0].others in {(2,), ()}
    monkeypatch.setattr(window_rounds, "OTHERS", 20.0)
    # It knows nothing of the window by now.
    solve.round(2)
    assert solve.state[0].others == (1, 2)
    assert len({state.carrier.sweeps for state in solve.state}) == 1
    while not solve.over:
        solve.round(3)
    solve.assert_same(expected)


@pytest.mark.parametrize("addresses", [["w0", "w0", "w1"], ["w0", "w1", "w1"], ["w0", "w0", "w0"]])
def test_several_on_one_worker(network, addresses):
    """After others were lost, say."""
    phi, w0, method = digits()
    solve = Solve(network, phi, w0, method, (1, 1, 1), f"one worker {addresses}", addresses=addresses)
    while not solve.over:
        solve.round(4)
        assert solve.state[0].others == (1, 2)
    solve.assert_same(solve_in_one_process(phi, w0, method))


def test_the_leader_alone(network, monkeypatch):
    phi, w0, method = digits()
    for name in ("FIRST", "AGAIN", "OTHERS"):
        monkeypatch.setattr(window_rounds, name, 0.01)
    solve = Solve(network, phi, w0, method, (2, 1, 1), "lonely")
    while not solve.over:
        solve.round(5, present={0})
    solve.assert_same(solve_in_one_process(phi, w0, method))


def test_without_a_leader_the_others_give_up(network, monkeypatch):
    phi, w0, method = digits()
    monkeypatch.setattr(window_rounds, "LEADER", 0.01)
    solve = Solve(network, phi, w0, method, (1, 1, 1), "headless")
    before = solve.state[1].sweeps
    for member in (1, 2):
        args = solve.state[member], solve.head, 0, member, 1, solve.run, 60.0
        share = network.run(solve.pool, f"w{member}", window_rounds.follow, phi, method, *args).result(20)
        assert share.carrier.sweeps == before


class Fails:
    """A step that fails from its n-th call on."""

    def __init__(self, phi, calls, act):
        self.phi, self.left, self.act = phi, calls, act
        self.lock = threading.Lock()

    def _count(self):
        with self.lock:
            self.left -= 1
            if self.left < 0:
                self.act()

    def __call__(self, weights, index, level):
        self._count()
        return self.phi(weights, index, level)

    def gradient(self, weights, index):
        self._count()
        return self.phi.gradient(weights, index)

    def advance(self, state, gradient, index):
        return self.phi.advance(state, gradient, index)


def broken():
    raise RuntimeError("the device is lost")


@pytest.mark.parametrize("member", [0, 1, 2])
@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_an_error_in_any_process_is_that_of_the_round(network, member, calls):
    """Unless it is for guesses alone: the solve does without these, and tells."""
    phi, w0, method = digits()
    solve = Solve(network, phi, w0, method, (1, 1, 1), f"fails {member} {calls}")
    errors, count = [], 0
    fails = {member: Fails(phi, calls, broken)}
    while not solve.over and not errors:
        errors += solve.round(100, phis=fails)
        count += 0 if errors else solve.head.failures.guesses
    assert all("device is lost" in str(error) for error in errors)
    if errors:
        # The leader's is what the client waits for.
        assert solve.failed[0]
        return
    # The first process has the first slot, whose state is accepted.
    assert member > 0
    assert count > 0
    assert solve.head.spent <= method.tol**2
    serial = train_serially(phi, w0, STEPS)[-1]
    np.testing.assert_allclose(window_tasks.final(solve.state[0]), serial, atol=1e-4)


@pytest.mark.parametrize("calls", [0, 3])
@pytest.mark.parametrize("member", [1, 2])
def test_a_process_that_never_ends_is_done_without(network, monkeypatch, member, calls):
    """Or one that takes much longer than the others."""
    phi, w0, method = digits()
    monkeypatch.setattr(window_team, "LEAST", 0.2)
    monkeypatch.setattr(window_rounds, "AGAIN", 0.05)
    solve, goes_on = Solve(network, phi, w0, method, (1, 1, 1), f"late {member} {calls}"), threading.Event()
    hangs = Fails(phi, calls, lambda: goes_on.wait(30))
    first = solve.start(4, phis={member: hangs})
    # The round ends without it.
    assert first.pop(0)[1].result(20).apart == ((f"w{member}", "late"),)
    goes_on.set()
    assert not solve.end([(0, solve.asked[0][1]), *first])
    assert solve.state[0].carrier.sweeps == 4
    while not solve.over:
        assert not solve.round(4)
        assert solve.head.apart == ()
        assert solve.state[0].others == (1, 2)
    solve.assert_same(solve_in_one_process(phi, w0, method))


def test_a_process_that_is_always_late_does_not_stop_the_others(network, monkeypatch):
    """It comes again at once, and is done without until the round ends."""
    phi, w0, method = digits()
    monkeypatch.setattr(window_team, "LEAST", 0.1)
    solve = Solve(network, phi, w0, method, (1, 1, 1), "always late")
    slow, rounds = Fails(phi, 0, lambda: time.sleep(0.3)), 0
    while not solve.over:
        assert not solve.round(8, phis={1: slow})
        rounds += 1
        assert solve.head.apart == (("w1", "late"),)
        assert len(solve.head.reports) == 8 or solve.over
    assert 1 < rounds < 6
    solve.assert_same(solve_in_one_process(phi, w0, method))


def test_a_breach_of_the_contract_while_another_process_hangs(network, monkeypatch):
    """The one that fails does not wait for the one that hangs."""
    phi, w0, method = digits()
    monkeypatch.setattr(window_team, "LEAST", 0.2)
    monkeypatch.setattr(window_rounds, "AGAIN", 0.5)
    goes_on = threading.Event()

    def breaks():
        raise PropagatorError("two rows for one")

    solve = Solve(network, phi, w0, method, (1, 1, 1), "both")
    phis = {1: Fails(phi, 0, lambda: goes_on.wait(60)), 2: Fails(phi, 0, breaks)}
    asked = solve.start(8, phis=phis)
    for member in 0, 2:
        assert "two rows for one" in str(asked[member][1].exception(20))
    goes_on.set()
    solve.end(asked)


def test_a_process_is_late_only_if_it_takes_much_longer_than_the_others(network, monkeypatch):
    phi, w0, method = digits()
    monkeypatch.setattr(window_team, "LEAST", 0.0)
    monkeypatch.setattr(window_team, "LONGER", 20.0)
    solve = Solve(network, phi, w0, method, (1, 1, 1), "equally slow")
    slow = {
        0: Fails(phi, 0, lambda: time.sleep(0.05)),
        1: Fails(phi, 0, lambda: time.sleep(0.2)),
        2: Fails(phi, 0, lambda: time.sleep(0.05)),
    }
    assert not solve.round(3, phis=slow)
    assert solve.head.apart == ()


@pytest.mark.parametrize("calls", [0, 3])
def test_a_worker_that_is_lost(network, monkeypatch, calls):
    phi, w0, method = digits()
    monkeypatch.setattr(window_rounds, "AGAIN", 0.05)
    solve = Solve(network, phi, w0, method, (1, 1, 1), f"lost {calls}")

    def lose():
        network.lose("w2")

    while not solve.over:
        solve.round(4, phis={2: Fails(phi, calls, lose)})
    solve.assert_same(solve_in_one_process(phi, w0, method))


def test_processes_that_do_not_find_the_same_are_done_without(network, monkeypatch):
    """Should another processor lead to another window, the leader's counts."""
    phi, w0, method = digits()
    monkeypatch.setattr(window_rounds, "AGAIN", 0.05)
    sent, send = [], exchange.Room.send

    def elsewhere(room, others, key, value):
        if isinstance(value, window_team.Part) and room.member == 1 and len(sent) < 3:
            sent.append(value)
            value = replace(value, place=(99, 1), rows=())
        send(room, others, key, value)

    monkeypatch.setattr(exchange.Room, "send", elsewhere)
    solve = Solve(network, phi, w0, method, (1, 1), "elsewhere")
    while not solve.over:
        assert not solve.round(3)
    assert sent
    solve.assert_same(solve_in_one_process(phi, w0, method))


class Rounds:
    """Training whose updates have other last bits from the n-th call on."""

    def __init__(self, phi, calls):
        self.phi, self.left = phi, calls

    def gradient(self, weights, index):
        return self.phi.gradient(weights, index)

    def advance(self, state, gradient, index):
        self.left -= 1
        new = self.phi.advance(state, gradient, index)
        return np.nextafter(new, 9.0) if self.left < 0 else new


@pytest.mark.parametrize("odd", [{1}, {2, 3}, {0}])
@pytest.mark.parametrize("calls", [0, 9])
def test_processes_that_round_otherwise_are_done_without(network, odd, calls):
    """The bits are the leader's: the others never evaluate states that it does not have."""
    phi, w0, method = digits(window=8)
    solve, apart = Solve(network, phi, w0, method, (1, 1, 1, 1), f"rounds {odd} {calls}"), set()
    while not solve.over:
        assert not solve.round(6, phis={member: Rounds(phi, calls) for member in odd})
        apart |= set(solve.head.apart)
    assert apart == {(f"w{member}", "unlike") for member in (odd if 0 not in odd else {1, 2, 3})}
    if 0 not in odd:
        solve.assert_same(solve_in_one_process(phi, w0, method))
    elif not calls:
        solve.assert_same(solve_in_one_process(Rounds(phi, 0), w0, method))


def test_one_difference_of_bits_costs_a_process_nothing(network, monkeypatch):
    """It begins again with the leader's, as where a library's bits depend on the place in memory."""
    phi, w0, method = digits(window=6)
    solve = Solve(network, phi, w0, method, (1, 1), "once")
    sent, send = [], exchange.Room.send

    def once(room, others, key, value):
        if isinstance(value, window_team.Part) and room.member == 1:
            sent.append(value)
            value = replace(value, mark=value.mark ^ 1) if len(sent) == 2 else value
        send(room, others, key, value)

    monkeypatch.setattr(exchange.Room, "send", once)
    assert not solve.round(6)
    assert solve.head.apart == ()
    assert solve.state[0].others == (1,)
    assert len(sent) > 6
    assert solve.state[1].carrier.sweeps == 6
    while not solve.over:
        solve.round(6)
    solve.assert_same(solve_in_one_process(phi, w0, method))


@pytest.mark.parametrize("at", [0, 7])
def test_divergence_ends_all(network, at):
    def phi(weights, index, level):
        return np.where((index == at)[:, None], np.nan, 0.5 * np.cos(weights))

    method = NewtonSettings(STEPS, 0.0, size=choose_size(4, "identity"))
    solve = Solve(network, phi, np.ones(3), method, (1, 2), f"diverges {at}")
    while not solve.over:
        assert not solve.round(3)
    assert all(state.carrier.diverged.step == at for state in solve.state)
