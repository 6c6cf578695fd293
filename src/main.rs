//! Arguments in, exit code out.

fn main() {
    // Before anything else: the guardian must have one thread and nothing of devwatch.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == "__guardian")
    {
        devwatch::process::guardian_main()
    }
}
