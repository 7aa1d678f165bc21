// SPDX-License-Identifier: GPL-2.0-or-later
// A classic BPF program (linux/filter.h), written from its end to its start: BPF jumps forward only, so whatever an
// instruction leads to is already there, and its distance known, when the instruction is written. Conditional jumps
// reach 255 instructions; for targets farther away a plain jump is put in between.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace ctsync::kernel {

class BpfProgram {
 public:
  using Label = std::size_t;  // place of an instruction, counted from the end

  // Each writes one instruction (and plain jumps where needed) and says where it is. `next`, `yes` and `no` tell what
  // is run after it.
  Label ret(std::uint32_t value) { return add(BPF_RET | BPF_K, 0, 0, value); }
  Label load(std::uint16_t code, std::uint32_t k, Label next) {
    if (next + 1 != back_.size()) jump(next);
    return add(code, 0, 0, k);
  }
  // `test`: BPF_JEQ, BPF_JGE ..., of the accumulator with k.
  Label jump_if(std::uint16_t test, std::uint32_t k, Label yes, Label no) {
    near(yes, 1);  // and stays near when a jump for `no` is written
    const Label no_near = near(no, 0);
    const Label yes_near = near(yes, 0);
    const auto here = back_.size();
    return add(static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), static_cast<std::uint8_t>(here - yes_near - 1),
               static_cast<std::uint8_t>(here - no_near - 1), k);
  }

  std::size_t size() const { return back_.size(); }
  // First instruction first. The program starts with what was written last.
  std::vector<sock_filter> finish() const { return {back_.rbegin(), back_.rend()}; }

 private:
  static constexpr std::size_t kReach = 255;

  Label add(std::uint16_t code, std::uint8_t yes, std::uint8_t no, std::uint32_t k) {
    back_.push_back({code, yes, no, k});
    return back_.size() - 1;
  }
  Label jump(Label to) { return add(BPF_JMP | BPF_JA, 0, 0, static_cast<std::uint32_t>(back_.size() - to - 1)); }
  // A place within reach that leads to `target`, also when `more` instructions are written first.
  Label near(Label target, std::size_t more) {
    const auto last = last_jump_.find(target);
    const Label best = last == last_jump_.end() ? target : last->second;
    if (back_.size() + more - best - 1 <= kReach) return best;
    return last_jump_[target] = jump(target);
  }

  std::vector<sock_filter> back_;
  std::unordered_map<Label, Label> last_jump_;  // latest plain jump to a far target
};

}  // namespace ctsync::kernel
