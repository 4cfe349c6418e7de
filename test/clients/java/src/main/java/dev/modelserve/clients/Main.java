package dev.modelserve.clients;

import java.util.List;

/** Runs every check of both clients, and ends with 1 when one has failed. */
public final class Main {
  private Main() {}

  public static void main(String[] args) throws Exception {
    System.out.printf(
        "versions: Java %s, grpc-java %s%n",
        System.getProperty("java.version"),
        io.grpc.ManagedChannel.class.getPackage().getImplementationVersion());
    Checks checks = new Checks();
    for (var version : List.of(java.net.http.HttpClient.Version.HTTP_1_1, java.net.http.HttpClient.Version.HTTP_2)) {
      new HttpChecks(version).run(checks);
    }
    new GrpcChecks().run(checks);
    System.exit(checks.report());
  }
}
