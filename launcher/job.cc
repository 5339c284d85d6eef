#include "launcher/job.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"
#include "graph/mesh.h"
#include "launcher/job_data.h"
#include "launcher/mapped_file.h"
#include "runtime/status.h"

namespace weft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Copies the default of an unset scalar field into it.
void SetDefault(const FieldDescriptor* field, Message* message) {
  const Reflection* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->SetInt64(message, field, field->default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, field->default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->SetDouble(message, field, field->default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->SetBool(message, field, field->default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection->SetEnum(message, field, field->default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->SetString(message, field, field->default_value_string());
    default: return;
  }
}

// Fills defaults below `message`; members of a oneof are left as chosen.
void FillDefaults(Message* message) {
  const Reflection* reflection = message->GetReflection();
  const google::protobuf::Descriptor& type = *message->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const bool set = !field->is_repeated() && reflection->HasField(*message, field);
    if (!set && field->real_containing_oneof() != nullptr) continue;
    if (field->is_repeated()) {
      for (int k = 0;
           field->message_type() != nullptr && k < reflection->FieldSize(*message, field); ++k) {
        FillDefaults(reflection->MutableRepeatedMessage(message, field, k));
      }
    } else if (field->message_type() != nullptr) {
      FillDefaults(reflection->MutableMessage(message, field));
    } else if (!set) {
      SetDefault(field, message);
    }
  }
}

void DropWhatDoesNotApply(Job::Data* data) {
  if (!data->has_text()) data->clear_tokenizer();
  if (!data->has_tokens()) data->clear_format();
  if (!IsStream(*data)) data->clear_sequence();
  if (!IsStream(*data) || data->input().empty()) data->clear_shift();
  if (!data->has_csv()) data->clear_header();
  if (!data->has_csv()) data->clear_delimiter();
  if (data->input().empty()) data->clear_input();
  if (data->type().empty()) data->clear_type();
}

}  // namespace

absl::StatusOr<Job> LoadJob(const std::string& path, const JobOverrides& overrides,
                            FieldOrigins* origins) {
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return ParseJob(std::string(reinterpret_cast<const char*>(file.data()), file.size()), path,
                  overrides, origins);
}

absl::StatusOr<Job> ParseJob(const std::string& text, const std::string& file,
                             const JobOverrides& overrides, FieldOrigins* written) {
  Job job;
  FieldOrigins own;
  FieldOrigins& origins = written == nullptr ? own : *written;
  origins[""] = file;
  WEFT_RETURN_IF_ERROR(ParseStrictText(text, file, &job, &origins));
  for (const std::string& assignment : overrides.sets) {
    WEFT_RETURN_IF_ERROR(ApplySet(assignment, &job, &origins));
  }
  if (overrides.mesh.has_value()) {
    job.set_mesh(*overrides.mesh);
    origins["mesh"] = absl::StrCat("--mesh ", *overrides.mesh);
  }
  if (!overrides.trace.empty()) {
    job.mutable_log()->set_trace(overrides.trace);
    origins["log.trace"] = "--trace";
  }
  if (!overrides.trace_steps.empty()) {
    job.mutable_log()->set_trace_steps(overrides.trace_steps);
    origins["log.trace_steps"] = "--trace-steps";
  }
  WEFT_RETURN_IF_ERROR(ValidateJob(job, origins));
  ResolveJob(&job);
  return job;
}

void ResolveJob(Job* job) {
  if (job->model().has_decoder()) {
    Job::Decoder* decoder = job->mutable_model()->mutable_decoder();
    if (!decoder->has_kv_heads()) decoder->set_kv_heads(decoder->heads());
    if (!decoder->has_head_dim() && decoder->heads() > 0) {
      decoder->set_head_dim(decoder->hidden() / decoder->heads());
    }
  }
  const bool names_cache = job->train().has_gemm_cache();  // "" says: none
  FillDefaults(job);
  if (!names_cache) job->mutable_train()->clear_gemm_cache();
  // Defaults of what does not apply would contradict the rest when the job is read again.
  for (Job::Data& data : *job->mutable_data()) DropWhatDoesNotApply(&data);
  Job::Schedule* schedule = job->mutable_optimizer()->mutable_schedule();
  if (schedule->decay() == Job::Schedule::CONSTANT) schedule->clear_final_lr_ratio();
  Job::Train* train = job->mutable_train();
  if (train->dtype() != Job::Train::F16) {
    train->clear_loss_scale();
  } else if (train->loss_scale().fixed()) {
    train->mutable_loss_scale()->clear_growth_every();
  }
}

absl::Status CheckRanks(const Job& job, int ranks, const FieldOrigins& origins) {
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Parse(job.mesh()));
  if (mesh.size() == ranks) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      WhereWritten(origins, "mesh"), ": \"", job.mesh(), "\" has ", mesh.size(),
      mesh.size() == 1 ? " rank" : " ranks", " but ", ranks, ranks == 1 ? " runs" : " run",
      "; start it with mpirun -n ", mesh.size(), " or --ranks ", mesh.size(),
      ", or give a mesh of ", ranks, ", such as --mesh data:", ranks));
}

std::string PrintJob(const Job& job) {
  google::protobuf::TextFormat::Printer printer;
  std::string text;
  printer.PrintToString(job, &text);
  return text;
}

}  // namespace weft
