# Built from source by Homebrew. packaging/packages writes a copy with the source's address and checksum in it; this one is for
# `brew install --HEAD` of a clone, and for reading.
class ProcurifyToken < Formula
  desc "Keeps Procurify API tokens ready for scripts and programs"
  homepage "https://example.com/procurify-token"
  url "@URL@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "daemon"), "--profile", "dist", "--features", "keychain"
    system "cargo", "install", *std_cargo_args(path: "client/cli"), "--profile", "dist"
    # Made beforehand, and not in a clone.
    if build.stable?
      man1.install Dir["documents/man1/*"]
      man5.install Dir["documents/man5/*"]
      man8.install Dir["documents/man8/*"]
      bash_completion.install Dir["documents/bash/*"]
      zsh_completion.install Dir["documents/zsh/*"]
      fish_completion.install Dir["documents/fish/*"]
    end
    doc.install "README.md", "SECURITY.md", "CHANGELOG.md"
  end

  # A user's own daemon. `procurify-token stop` ends it, a failure does not.
  service do
    run opt_bin/"procurify-tokend"
    keep_alive successful_exit: false
    error_log_path var/"log/procurify-tokend.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/procurify-token --version")
    assert_match "[vault]", shell_output("#{bin}/procurify-tokend --print-default-config")
  end
end
