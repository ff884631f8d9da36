/// Dispatcher: from a JSON value to the function of a command.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "protocol/json.h"
#include "protocol/reply.h"

namespace halcyon {

/// What the handlers of commands need: the machine, the configuration. Defined by daemon/; this
/// folder only passes the reference on.
class CommandContext;
class Session;

/// The generated function that decodes `arguments` and calls the command's handler, or answers the
/// first fault in the arguments through `reply`.
using CommandFunction = void (*)(CommandContext& context, Session& session, const Json& arguments,
                                 ReplySink reply);

/// A set of run states: bit N stands for the enumerator of value N in the schema's RunState.
using RunStateSet = uint32_t;
inline constexpr RunStateSet kAllRunStates = ~RunStateSet{0};

/// One row of the command table; made by the generator from a schema entry.
struct CommandEntry {
    std::string_view name = {};
    CommandFunction function = nullptr;
    /// Allowed before machine initialisation (`--preconfig`).
    bool allow_preconfig = false;
    /// May be sent with `exec-oob`.
    bool allow_oob = false;
    /// Understood while capabilities are being negotiated.
    bool negotiates = false;
    /// Still answered while new commands are refused, because it is what made them refused.
    bool allow_while_quitting = false;
    /// The run states in which the command is legal.
    RunStateSet run_states = kAllRunStates;
    /// What a client is told in the others.
    std::string_view run_state_error = {};
    /// The error classes besides GenericError that the command may answer.
    ErrorClassSet error_classes = 0;
};

/// Where the machine is in its life, as far as it decides which commands are legal.
struct MachinePhase {
    /// Before machine initialisation.
    bool preconfig = false;
    /// The present RunState's enumerator value, below 32.
    unsigned run_state = 0;
};

/// A request that passed every check of its shape.
struct Request {
    std::string command;
    /// An object.
    Json arguments = Json::object();
    /// Echoed in the answer, when the client gave one.
    std::optional<Json> id;
    /// Sent with `exec-oob`.
    bool out_of_band = false;
};

/// A request that is malformed, with what can be echoed of it.
struct BadRequest {
    QmpError error;
    std::optional<Json> id;
    /// Meant to be out of band, and answered at once.
    bool out_of_band = false;
};

/// Checks requests in QEMU's order and words, and runs commands. Stateless but for the switch that
/// `quit` throws; one for the whole process. Main thread only.
class Dispatcher {
public:
    /// `table` is sorted by name and outlives the dispatcher, as does `context`.
    Dispatcher(std::span<const CommandEntry> table, CommandContext& context)
        : table_(table), context_(context) {}

    /// How to learn the machine's phase. Until it is set every command is legal.
    void set_phase_source(std::function<MachinePhase()> source) {
        phase_source_ = std::move(source);
    }

    /// Calls `watch` instead of each command's function; it must call `run`, once.
    using CommandWatch =
        std::function<void(const Request& request, const std::function<void()>& run)>;
    void set_command_watch(CommandWatch watch) { watch_ = std::move(watch); }

    /// From now on requests get no answer at all, but for those of `allow_while_quitting` commands.
    /// What runs still answers. `refuse` false takes it back (a quit that failed).
    void refuse_new_commands(bool refuse = true) { refusing_ = refuse; }
    [[nodiscard]] bool refuses_new_commands() const { return refusing_; }

    /// Checks the shape of a request. `oob_enabled`: the session negotiated `oob`.
    [[nodiscard]] static std::variant<Request, BadRequest> parse(Json value, bool oob_enabled);

    /// Runs `request` for `session`, or answers why not. `negotiated`: the session's capabilities
    /// negotiation is complete.
    void run(Session& session, const Request& request, bool negotiated, ReplySink reply) const;

    /// The table's row of that name, or null.
    [[nodiscard]] const CommandEntry* find(std::string_view name) const;

private:
    [[nodiscard]] std::optional<QmpError> refusal(const CommandEntry* entry, const Request& request,
                                                  bool negotiated) const;

    std::span<const CommandEntry> table_;
    CommandContext& context_;
    std::function<MachinePhase()> phase_source_;
    CommandWatch watch_;
    bool refusing_ = false;
};

}  // namespace halcyon
