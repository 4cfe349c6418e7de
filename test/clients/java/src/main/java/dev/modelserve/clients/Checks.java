package dev.modelserve.clients;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.Objects;

/** Counts what holds and prints what does not. */
final class Checks {
  private int passed;
  private int failed;

  interface Check {
    void run() throws Exception;
  }

  void check(String name, Check check) {
    try {
      check.run();
      passed++;
    } catch (Throwable e) { // an assertion too
      failed++;
      StringWriter trace = new StringWriter();
      e.printStackTrace(new PrintWriter(trace));
      System.out.printf("FAIL: %s%n%s%n", name, trace);
    }
  }

  int report() {
    System.out.printf("%d passed, %d failed%n", passed, failed);
    return failed == 0 ? 0 : 1;
  }

  static void equal(Object got, Object want) {
    if (!Objects.equals(got, want)) {
      throw new AssertionError("got " + got + ", want " + want);
    }
  }

  static void equal(byte[] got, byte[] want) {
    if (!Arrays.equals(got, want)) {
      throw new AssertionError("got " + got.length + " bytes, want " + want.length + " others");
    }
  }
}
