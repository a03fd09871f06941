// Compiles HLO with TensorFlow's own XLA for a GPU that need not be there.
//
//   compile HLO.pb TARGET.txtpb
//
// HLO.pb is a serialized, unoptimised HloModuleProto; TARGET.txtpb a GpuTargetConfigProto as text.
// XLA_FLAGS (--xla_dump_to=...) says where the results go.
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "google/protobuf/text_format.h"
#include "xla/debug_options_flags.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/service/compiler.h"
#include "xla/service/gpu_topology.h"
#include "xla/service/hlo.pb.h"
#include "xla/service/hlo_module_config.h"
#include "xla/stream_executor/cuda/cuda_platform_id.h"
#include "xla/stream_executor/device_description.pb.h"

static std::string Read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

static int Fail(const char* what, const absl::Status& status) {
  std::cerr << what << ": " << status << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: compile HLO.pb TARGET.txtpb" << std::endl;
    return 2;
  }
  xla::HloModuleProto proto;
  if (!proto.ParseFromString(Read(argv[1]))) {
    std::cerr << argv[1] << " holds no HLO" << std::endl;
    return 1;
  }
  stream_executor::GpuTargetConfigProto target;
  if (!google::protobuf::TextFormat::ParseFromString(Read(argv[2]), &target)) {
    std::cerr << argv[2] << " describes no GPU" << std::endl;
    return 1;
  }
  xla::DebugOptions debug = xla::GetDebugOptionsFromFlags();
  auto config = xla::HloModule::CreateModuleConfigFromProto(proto, debug);
  if (!config.ok()) return Fail("configuration", config.status());
  auto module = xla::HloModule::CreateFromProto(proto, *config);
  if (!module.ok()) return Fail("module", module.status());
  const auto platform = stream_executor::cuda::kCudaPlatformId;
  auto compiler = xla::Compiler::GetForPlatform(platform);
  if (!compiler.ok()) return Fail("compiler", compiler.status());
  auto gpu = xla::gpu::GpuTargetConfig::FromProto(target);
  if (!gpu.ok()) return Fail("target", gpu.status());
  // What a recent driver reports: graphs with loops and copies (command buffers) need 12.3.
  gpu->device_description.set_driver_version({13, 0, 0});
  gpu->device_description.set_compile_time_toolkit_version({12, 5, 1});
  xla::AotCompilationOptions options(platform);
  options.set_gpu_topology(xla::GpuTopology("cuda", 1, 1, 1, *gpu));
  auto result = (*compiler)->CompileAheadOfTime(std::move(*module), options);
  if (!result.ok()) return Fail("compilation", result.status());
  std::cout << "compiled: " << result->size() << " module(s)" << std::endl;
  return 0;
}
