// What a MySQL observer counts by: commands and the numbers of errors that have a name of their own. Nothing a peer sends
// becomes a name.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dragoman::mysql {

/// kNames in observer.cc gives the numbers on the wire.
enum class Command : uint8_t {
  kOther,
  kConnect,  // the login; no command on the wire
  kBinlogDump,
  kBinlogDumpGtid,
  kChangeUser,
  kCreateDb,
  kDebug,
  kDropDb,
  kFieldList,
  kInitDb,
  kPing,
  kProcessInfo,
  kProcessKill,
  kQuery,
  kQuit,
  kRefresh,
  kRegisterReplica,
  kResetConnection,
  kSetOption,
  kShutdown,
  kStatistics,
  kStmtBulkExecute,
  kStmtClose,
  kStmtExecute,
  kStmtFetch,
  kStmtPrepare,
  kStmtReset,
  kStmtSendLongData,
  kTableDump,
};
inline constexpr auto kCommandNames = std::to_array<std::string_view>({"other",
                                                                       "connect",
                                                                       "binlog_dump",
                                                                       "binlog_dump_gtid",
                                                                       "change_user",
                                                                       "create_db",
                                                                       "debug",
                                                                       "drop_db",
                                                                       "field_list",
                                                                       "init_db",
                                                                       "ping",
                                                                       "process_info",
                                                                       "process_kill",
                                                                       "query",
                                                                       "quit",
                                                                       "refresh",
                                                                       "register_replica",
                                                                       "reset_connection",
                                                                       "set_option",
                                                                       "shutdown",
                                                                       "statistics",
                                                                       "stmt_bulk_execute",
                                                                       "stmt_close",
                                                                       "stmt_execute",
                                                                       "stmt_fetch",
                                                                       "stmt_prepare",
                                                                       "stmt_reset",
                                                                       "stmt_send_long_data",
                                                                       "table_dump"});
static_assert(kCommandNames.size() == static_cast<size_t>(Command::kTableDump) + 1);

struct ErrorName {
  uint16_t code;
  std::string_view name;
};
/// By number; the first stands for every other. Names: the server's, without ER_.
inline constexpr auto kErrors = std::to_array<ErrorName>({
    {0, "other"},
    {1040, "con_count_error"},
    {1042, "bad_host_error"},
    {1043, "handshake_error"},
    {1044, "dbaccess_denied_error"},
    {1045, "access_denied_error"},
    {1046, "no_db_error"},
    {1047, "unknown_com_error"},
    {1048, "bad_null_error"},
    {1049, "bad_db_error"},
    {1050, "table_exists_error"},
    {1051, "bad_table_error"},
    {1052, "non_uniq_error"},
    {1053, "server_shutdown"},
    {1054, "bad_field_error"},
    {1061, "dup_keyname"},
    {1062, "dup_entry"},
    {1064, "parse_error"},
    {1065, "empty_query"},
    {1114, "record_file_full"},
    {1129, "host_is_blocked"},
    {1130, "host_not_privileged"},
    {1136, "wrong_value_count_on_row"},
    {1142, "tableaccess_denied_error"},
    {1146, "no_such_table"},
    {1153, "net_packet_too_large"},
    {1159, "net_read_interrupted"},
    {1161, "net_write_interrupted"},
    {1203, "too_many_user_connections"},
    {1205, "lock_wait_timeout"},
    {1213, "lock_deadlock"},
    {1216, "no_referenced_row"},
    {1226, "user_limit_reached"},
    {1227, "specific_access_denied_error"},
    {1243, "unknown_stmt_handler"},
    {1264, "warn_data_out_of_range"},
    {1290, "option_prevents_statement"},
    {1292, "truncated_wrong_value"},
    {1305, "sp_does_not_exist"},
    {1317, "query_interrupted"},
    {1364, "no_default_for_field"},
    {1366, "truncated_wrong_value_for_field"},
    {1406, "data_too_long"},
    {1451, "row_is_referenced_2"},
    {1452, "no_referenced_row_2"},
    {1461, "max_prepared_stmt_count_reached"},
    {1615, "need_reprepare"},
    {1690, "data_out_of_range"},
    {1792, "cant_execute_in_read_only_transaction"},
    {1836, "read_only_mode"},
    {1927, "connection_killed"},
    {1969, "statement_timeout"},
    {3024, "query_timeout"},
    {3819, "check_constraint_violated"},
    {4025, "constraint_failed"},
    {4031, "client_interaction_timeout"},
});
/// Index in kErrors.
enum class Error : uint8_t {};

constexpr Error find_error(uint16_t code) {
  const auto it = std::lower_bound(kErrors.begin() + 1, kErrors.end(), code,
                                   [](const ErrorName& e, uint16_t wanted) { return e.code < wanted; });
  return static_cast<Error>(it != kErrors.end() && it->code == code ? it - kErrors.begin() : 0);
}

}  // namespace dragoman::mysql
