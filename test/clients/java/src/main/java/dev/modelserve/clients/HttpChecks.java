package dev.modelserve.clients;

import static dev.modelserve.clients.Checks.equal;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * Java's own HttpClient. Asked for HTTP/2 it offers the upgrade to h2c with its first request, which a
 * server may leave be: the answers count.
 */
final class HttpChecks {
  private final HttpClient.Version version;
  private final HttpClient client;

  HttpChecks(HttpClient.Version version) {
    this.version = version;
    this.client = HttpClient.newBuilder().version(version).connectTimeout(Duration.ofSeconds(Served.PATIENCE)).build();
  }

  void run(Checks checks) {
    String of = "HttpClient " + version + ": ";
    checks.check(of + "metadata", this::metadata);
    Served.values().forEach((datatype, value) -> checks.check(of + datatype + " in binary", () -> binary(datatype, value)));
    checks.check(of + "several outputs, asked alone", this::several);
    checks.check(of + "many at once get their own", this::manyAtOnce);
    checks.check(of + "20 MB both ways", this::large);
    checks.check(of + "gzip both ways", this::gzip);
    checks.check(of + "refusals say what was wrong", this::refusals);
    checks.check(of + "a timeout leaves the client usable", this::timeout);
    for (Served.Early early : Served.EARLY) {
      checks.check(of + early.name() + " arrives", () -> early(early, false));
      checks.check(of + early.name() + " of a body in pieces arrives", () -> early(early, true));
    }
    checks.check(of + "early refusals beside others", this::earlyBesideOthers);
  }

  private HttpRequest.Builder to(String path, boolean key) {
    HttpRequest.Builder b = HttpRequest.newBuilder(URI.create("http://" + Served.ADDRESS + path));
    b.timeout(Duration.ofSeconds(Served.PATIENCE));
    return key ? b.header("X-API-Key", Served.KEY) : b;
  }

  private static String infer(String model) {
    return "/v2/models/" + model + "/infer";
  }

  private HttpResponse<byte[]> post(String path, BodyPublisher body, String... headers) throws Exception {
    HttpRequest.Builder b = to(path, true).POST(body);
    return client.send((headers.length == 0 ? b : b.headers(headers)).build(), BodyHandlers.ofByteArray());
  }

  private static JsonObject json(HttpResponse<byte[]> answer) {
    return JsonParser.parseString(new String(answer.body(), StandardCharsets.UTF_8)).getAsJsonObject();
  }

  private static String ask(float[] rows) {
    return "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[" + rows.length / 4 + ",4],\"data\":" + Arrays.toString(rows) + "}]}";
  }

  private static void answered(HttpResponse<byte[]> answer, float[] rows) {
    equal(answer.statusCode(), 200);
    List<Float> got = new ArrayList<>();
    json(answer).getAsJsonArray("outputs").get(0).getAsJsonObject().getAsJsonArray("data").forEach(v -> got.add(v.getAsFloat()));
    List<Float> want = new ArrayList<>();
    for (float v : rows) {
      want.add(v);
    }
    equal(got, want);
  }

  private CompletableFuture<Void> good(int i) {
    HttpRequest request = to(infer("echo-fp32"), true).POST(BodyPublishers.ofString(ask(Served.rows(i)))).build();
    return client.sendAsync(request, BodyHandlers.ofByteArray()).thenAccept(answer -> answered(answer, Served.rows(i)));
  }

  private void metadata() throws Exception {
    for (String[] want : new String[][] {{"/v2", "name", "modelserve"}, {"/v2/health/live", "live", "true"}, {"/v2/health/ready", "ready", "true"}, {"/v2/models/several", "name", "several"}}) {
      var answer = client.send(to(want[0], true).GET().build(), BodyHandlers.ofByteArray());
      equal(json(answer).get(want[1]).getAsString(), want[2]);
    }
  }

  private void binary(String datatype, byte[] value) throws Exception {
    equal(echo(datatype, "[2,2]", value), value);
  }

  /** Sends a tensor in binary and gives the answer's back. */
  private byte[] echo(String datatype, String shape, byte[] value) throws Exception {
    String head =
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" + datatype + "\",\"shape\":" + shape + ",\"parameters\":{\"binary_data_size\":" + value.length + "}}],"
            + "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"binary_data\":true}}]}";
    ByteArrayOutputStream body = new ByteArrayOutputStream();
    body.writeBytes(head.getBytes(StandardCharsets.UTF_8));
    body.writeBytes(value);
    var answer =
        post(infer("echo-" + datatype.toLowerCase()), BodyPublishers.ofByteArray(body.toByteArray()), "Inference-Header-Content-Length", "" + head.length(), "Content-Type", "application/octet-stream");
    equal(answer.statusCode(), 200);
    int length = Integer.parseInt(answer.headers().firstValue("Inference-Header-Content-Length").orElseThrow());
    return Arrays.copyOfRange(answer.body(), length, answer.body().length);
  }

  private void several() throws Exception {
    String inputs =
        "{\"inputs\":[{\"name\":\"numbers\",\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[1.5,2]},"
            + "{\"name\":\"counts\",\"datatype\":\"INT64\",\"shape\":[1,3],\"data\":[1,2,9223372036854775807]},"
            + "{\"name\":\"texts\",\"datatype\":\"BYTES\",\"shape\":[1,1],\"data\":[\"one\"]}]";
    for (var want : new String[][] {
      {"}", "{\"doubled\":[3,4],\"counted\":[1,2,9223372036854775807],\"said\":[\"one\"]}"},
      {",\"outputs\":[{\"name\":\"said\"}]}", "{\"said\":[\"one\"]}"},
    }) {
      JsonObject got = new JsonObject();
      json(post(infer("several"), BodyPublishers.ofString(inputs + want[0]))).getAsJsonArray("outputs").forEach(o -> got.add(o.getAsJsonObject().get("name").getAsString(), o.getAsJsonObject().get("data")));
      equal(got, JsonParser.parseString(want[1]));
    }
  }

  private void manyAtOnce() {
    List<CompletableFuture<Void>> calls = new ArrayList<>();
    for (int i = 0; i < Served.AT_ONCE; i++) {
      calls.add(good(i));
    }
    calls.forEach(CompletableFuture::join);
  }

  private void large() throws Exception {
    byte[] value = Served.bytes(Served.large());
    equal(echo("FP32", "[5,1000000]", value), value);
  }

  private void gzip() throws Exception {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (var out = new GZIPOutputStream(packed)) {
      out.write(ask(Served.rows(4)).getBytes(StandardCharsets.UTF_8));
    }
    var answer = post(infer("echo-fp32"), BodyPublishers.ofByteArray(packed.toByteArray()), "Content-Encoding", "gzip", "Accept-Encoding", "gzip");
    equal(answer.statusCode(), 200);
    // A short answer may come as it is.
    boolean back = answer.headers().firstValue("Content-Encoding").orElse("").equals("gzip");
    InputStream in = new ByteArrayInputStream(answer.body());
    String body = new String((back ? new GZIPInputStream(in) : in).readAllBytes(), StandardCharsets.UTF_8);
    equal(JsonParser.parseString(body).getAsJsonObject().getAsJsonArray("outputs").get(0).getAsJsonObject().getAsJsonArray("data").size(), Served.rows(4).length);
  }

  private void refusals() throws Exception {
    String zero = "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,1],\"data\":[0]}]";
    for (Object[] want : new Object[][] {
      {"never-heard-of", zero + "}", 404},
      {"echo-int64", zero + "}", 400},
      {"echo-fp32", zero.replace("[1,1]", "[1,1,1]") + "}", 400},
      {"echo-fp32", zero + ",\"parameters\":{\"timeout\":1}}", 504},
    }) {
      var answer = post(infer((String) want[0]), BodyPublishers.ofString((String) want[1]));
      equal(answer.statusCode(), want[2]);
      equal(json(answer).has("error"), true);
    }
    good(1).join();
  }

  private void timeout() throws Exception {
    HttpRequest hasty = to(infer("echo-fp32"), true).timeout(Duration.ofMillis(1)).POST(BodyPublishers.ofByteArray(new byte[20 * Served.MIB])).build();
    try {
      client.send(hasty, BodyHandlers.ofByteArray());
    } catch (HttpTimeoutException e) {
      // as asked, unless the answer was there first
    }
    good(2).join();
  }

  private CompletableFuture<HttpResponse<byte[]>> refused(Served.Early early, boolean inPieces) {
    byte[] body = new byte[early.size()];
    BodyPublisher publisher = inPieces ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body)) : BodyPublishers.ofByteArray(body);
    return client.sendAsync(to(infer(early.model()), early.key()).POST(publisher).build(), BodyHandlers.ofByteArray());
  }

  private void early(Served.Early early, boolean inPieces) {
    for (int i = 0; i < Served.TIMES; i++) {
      var answer = refused(early, inPieces).join();
      equal(answer.statusCode(), early.status());
      equal(json(answer).has("error"), true);
    }
    good(3).join();
  }

  private void earlyBesideOthers() {
    for (int i = 0; i < Served.TIMES; i++) {
      List<CompletableFuture<Void>> calls = new ArrayList<>();
      for (Served.Early early : Served.EARLY) {
        calls.add(refused(early, false).thenAccept(answer -> equal(answer.statusCode(), early.status())));
      }
      for (int n = 0; n < 8; n++) {
        calls.add(good(n));
      }
      calls.forEach(CompletableFuture::join);
    }
  }
}
