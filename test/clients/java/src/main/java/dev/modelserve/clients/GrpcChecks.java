package dev.modelserve.clients;

import static dev.modelserve.clients.Checks.equal;

import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GrpcService.ModelInferRequest;
import inference.GrpcService.ModelInferResponse;
import inference.GrpcService.ModelMetadataRequest;
import inference.GrpcService.ModelReadyRequest;
import inference.GrpcService.ModelStreamInferResponse;
import inference.GrpcService.ServerLiveRequest;
import inference.GrpcService.ServerMetadataRequest;
import inference.GrpcService.ServerReadyRequest;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** grpc-java, with stubs generated from this repository's description of the protocol. */
final class GrpcChecks {
  private final ManagedChannel channel =
      NettyChannelBuilder.forTarget("dns:///" + Served.ADDRESS).usePlaintext().maxInboundMessageSize(Integer.MAX_VALUE).build();
  private final Metadata key = new Metadata();

  GrpcChecks() {
    key.put(Metadata.Key.of("x-api-key", Metadata.ASCII_STRING_MARSHALLER), Served.KEY);
  }

  void run(Checks checks) {
    checks.check("grpc-java: health and metadata", this::metadata);
    Served.values().forEach((datatype, value) -> checks.check("grpc-java: " + datatype, () -> {
      var answer = blocking().modelInfer(raw("echo-" + datatype.toLowerCase(), datatype, new long[] {2, 2}, value));
      equal(answer.getRawOutputContents(0).toByteArray(), value);
    }));
    checks.check("grpc-java: several outputs, asked alone", this::several);
    checks.check("grpc-java: many at once get their own", this::manyAtOnce);
    checks.check("grpc-java: 20 MB both ways", this::large);
    checks.check("grpc-java: gzip", () -> answered(blocking().withCompression("gzip").modelInfer(echo(4)), 4));
    checks.check("grpc-java: refusals say what was wrong", this::refusals);
    checks.check("grpc-java: a deadline and a cancelled call leave the channel usable", this::deadline);
    checks.check("grpc-java: a message over the bound is refused beside others", this::overBesideOthers);
    checks.check("grpc-java: a stream answers each message", this::stream);
    channel.shutdownNow();
  }

  private GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub blocking() {
    return GRPCInferenceServiceGrpc.newBlockingStub(channel).withInterceptors(MetadataUtils.newAttachHeadersInterceptor(key)).withDeadlineAfter(Served.PATIENCE, TimeUnit.SECONDS);
  }

  private GRPCInferenceServiceGrpc.GRPCInferenceServiceFutureStub future() {
    return GRPCInferenceServiceGrpc.newFutureStub(channel).withInterceptors(MetadataUtils.newAttachHeadersInterceptor(key)).withDeadlineAfter(Served.PATIENCE, TimeUnit.SECONDS);
  }

  private static ModelInferRequest raw(String model, String datatype, long[] shape, byte[] value) {
    var input = ModelInferRequest.InferInputTensor.newBuilder().setName("x").setDatatype(datatype);
    for (long n : shape) {
      input.addShape(n);
    }
    return ModelInferRequest.newBuilder().setModelName(model).addInputs(input).addRawInputContents(ByteString.copyFrom(value)).build();
  }

  private static ModelInferRequest echo(int i) {
    return raw("echo-fp32", "FP32", new long[] {Served.rows(i).length / 4, 4}, Served.bytes(Served.rows(i)));
  }

  private static void answered(ModelInferResponse answer, int i) {
    equal(answer.getRawOutputContents(0).toByteArray(), Served.bytes(Served.rows(i)));
  }

  private static void fails(Status.Code code, Checks.Check call) throws Exception {
    try {
      call.run();
    } catch (StatusRuntimeException e) {
      equal(e.getStatus().getCode(), code);
      equal(e.getStatus().getDescription() != null, true);
      return;
    }
    throw new AssertionError("answered, want " + code);
  }

  private void metadata() {
    equal(blocking().serverLive(ServerLiveRequest.getDefaultInstance()).getLive(), true);
    equal(blocking().serverReady(ServerReadyRequest.getDefaultInstance()).getReady(), true);
    equal(blocking().modelReady(ModelReadyRequest.newBuilder().setName("several").build()).getReady(), true);
    equal(blocking().serverMetadata(ServerMetadataRequest.getDefaultInstance()).getName(), "modelserve");
    equal(blocking().modelMetadata(ModelMetadataRequest.newBuilder().setName("several").build()).getInputsCount(), 3);
  }

  private void several() {
    var request =
        ModelInferRequest.newBuilder()
            .setModelName("several")
            .addInputs(input("numbers", "FP32", 2))
            .addInputs(input("counts", "INT64", 3))
            .addInputs(input("texts", "BYTES", 1))
            .addRawInputContents(ByteString.copyFrom(Served.bytes(1.5f, 2f)))
            .addRawInputContents(ByteString.copyFrom(new byte[24]))
            .addRawInputContents(ByteString.copyFrom(Served.texts("one")));
    equal(blocking().modelInfer(request.build()).getOutputsCount(), 3);
    request.addOutputs(ModelInferRequest.InferRequestedOutputTensor.newBuilder().setName("said"));
    var answer = blocking().modelInfer(request.build());
    equal(answer.getOutputsCount(), 1);
    equal(answer.getOutputs(0).getName(), "said");
    equal(answer.getRawOutputContents(0).toByteArray(), Served.texts("one"));
  }

  private static ModelInferRequest.InferInputTensor.Builder input(String name, String datatype, long width) {
    return ModelInferRequest.InferInputTensor.newBuilder().setName(name).setDatatype(datatype).addShape(1).addShape(width);
  }

  private void manyAtOnce() throws Exception {
    List<Future<ModelInferResponse>> calls = new ArrayList<>();
    for (int i = 0; i < Served.AT_ONCE; i++) {
      calls.add(future().modelInfer(echo(i)));
    }
    for (int i = 0; i < Served.AT_ONCE; i++) {
      answered(calls.get(i).get(), i);
    }
  }

  private void large() {
    byte[] value = Served.bytes(Served.large());
    equal(blocking().modelInfer(raw("echo-fp32", "FP32", new long[] {5, 1_000_000}, value)).getRawOutputContents(0).toByteArray(), value);
  }

  private void refusals() throws Exception {
    byte[] zero = new byte[4];
    fails(Status.Code.NOT_FOUND, () -> blocking().modelInfer(raw("never-heard-of", "FP32", new long[] {1, 1}, zero)));
    fails(Status.Code.INVALID_ARGUMENT, () -> blocking().modelInfer(raw("echo-fp32", "FP32", new long[] {1, 1, 1}, zero)));
    fails(Status.Code.INVALID_ARGUMENT, () -> blocking().modelInfer(raw("echo-fp32", "FP32", new long[] {1, 2}, zero)));
    fails(Status.Code.UNAUTHENTICATED, () -> GRPCInferenceServiceGrpc.newBlockingStub(channel).modelInfer(echo(1)));
    answered(blocking().modelInfer(echo(1)), 1);
  }

  private void deadline() throws Exception {
    var large = raw("echo-fp32", "FP32", new long[] {5, 1_000_000}, Served.bytes(Served.large()));
    fails(Status.Code.DEADLINE_EXCEEDED, () -> blocking().withDeadlineAfter(1, TimeUnit.MILLISECONDS).modelInfer(large));
    future().modelInfer(large).cancel(true);
    answered(blocking().modelInfer(echo(2)), 2);
  }

  private void overBesideOthers() throws Exception {
    var over = raw("echo-fp32", "FP32", new long[] {1, 10 * Served.MIB}, new byte[40 * Served.MIB]);
    for (int i = 0; i < Served.TIMES; i++) {
      Future<ModelInferResponse> refused = future().modelInfer(over);
      List<Future<ModelInferResponse>> calls = new ArrayList<>();
      for (int n = 0; n < 8; n++) {
        calls.add(future().modelInfer(echo(n)));
      }
      for (int n = 0; n < 8; n++) {
        answered(calls.get(n).get(), n);
      }
      try {
        refused.get();
        throw new AssertionError("answered");
      } catch (ExecutionException e) {
        equal(Status.fromThrowable(e).getCode(), Status.Code.RESOURCE_EXHAUSTED);
      }
    }
  }

  private void stream() throws Exception {
    Map<Integer, byte[]> answers = new ConcurrentHashMap<>();
    List<String> errors = java.util.Collections.synchronizedList(new ArrayList<>());
    CompletableFuture<Void> ended = new CompletableFuture<>();
    var stub = GRPCInferenceServiceGrpc.newStub(channel).withInterceptors(MetadataUtils.newAttachHeadersInterceptor(key));
    StreamObserver<ModelInferRequest> requests = stub.modelStreamInfer(new StreamObserver<ModelStreamInferResponse>() {
      @Override
      public void onNext(ModelStreamInferResponse answer) {
        if (answer.getErrorMessage().isEmpty()) {
          answers.put(Integer.parseInt(answer.getInferResponse().getId()), answer.getInferResponse().getRawOutputContents(0).toByteArray());
        } else {
          errors.add(answer.getErrorMessage());
        }
      }

      @Override
      public void onError(Throwable e) {
        ended.completeExceptionally(e);
      }

      @Override
      public void onCompleted() {
        ended.complete(null);
      }
    });
    for (int i = 0; i < Served.AT_ONCE; i++) {
      var message = echo(i).toBuilder().setId("" + i);
      requests.onNext((i == 5 ? message.setModelName("never-heard-of") : message).build());
    }
    requests.onCompleted();
    ended.get(Served.PATIENCE, TimeUnit.SECONDS);
    equal(errors.size(), 1); // and the stream went on
    equal(answers.size(), Served.AT_ONCE - 1);
    answers.forEach((i, bytes) -> equal(bytes, Served.bytes(Served.rows(i))));
  }
}
