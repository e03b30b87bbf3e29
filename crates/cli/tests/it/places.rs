//! The files that `send` and `recv` read from and write to: pipes, devices, links, modes.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use crate::transfer::{server, text};

#[tokio::test]
async fn a_directory_is_never_replaced_and_none_is_made() {
    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), "there").unwrap();
    fs::create_dir(here.join("file")).unwrap();
    let url = format!("{}files/file", server.url);
    for args in [&["recv"][..], &["recv", "--force"]] {
        let refused = server.run(&[args, &[&url, text(&here)]].concat()).await;
        refused.expect(1, "file is a directory, and is not replaced");
        let refused = server.run(&[args, &[&url, text(&here.join("new/"))]].concat()).await;
        refused.expect(1, "new/ is no directory");
    }
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1);
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::Command;
    use std::thread::{self, JoinHandle};

    use crate::served::{Trouble, assert_same, relay};
    use crate::support::noise;
    use crate::transfer::{server, text};

    /// Makes a pipe at `path`, and returns everything that comes out of it.
    fn pipe(path: &Path) -> JoinHandle<Vec<u8>> {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        let path = path.to_owned();
        thread::spawn(move || fs::read(path).unwrap())
    }

    #[tokio::test]
    async fn force_writes_to_a_pipe_that_is_there_and_it_stays_one() {
        let (server, there, here) = server(&[]).await;
        let all = noise(300_000);
        fs::write(there.join("file"), &all).unwrap();
        let url = format!("{}files/file", server.url);
        let out = here.join("out");
        let got = pipe(&out);
        server.run(&["recv", &url, text(&out)]).await.expect(1, "--force writes to it");
        server.run(&["recv", "--force", &url, text(&out)]).await.expect(0, "received");
        assert!(got.join().unwrap() == all);
        assert!(fs::symlink_metadata(&out).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(&here).unwrap().count(), 1, "there is no partial file");
    }

    #[tokio::test]
    async fn force_writes_to_a_device_that_is_there() {
        let (server, there, _) = server(&[]).await;
        fs::write(there.join("file"), noise(300_000)).unwrap();
        let url = format!("{}files/file", server.url);
        // The standard output of tools in tests is the null device. Under this name nothing can be
        // replaced, not even by root.
        server.run(&["recv", &url, "/dev/fd/1"]).await.expect(1, "--force writes to it");
        server.run(&["recv", "--force", &url, "/dev/fd/1"]).await.expect(0, "received");
    }

    #[tokio::test]
    async fn a_pipe_that_has_got_a_part_of_a_file_does_not_get_it_again() {
        let (server, there, here) = server(&[]).await;
        let all = noise(8 << 20);
        fs::write(there.join("file"), &all).unwrap();
        let base = relay(&server.url, Trouble::Cut(5 << 20)).await;
        let url = format!("{base}files/file");
        let out = here.join("out");
        let got = pipe(&out);
        let ended = server.run(&["recv", "--force", "--reconnect", &url, text(&out)]).await;
        ended.expect(5, "out may have got a part of the file, which cannot be taken back");
        let got = got.join().unwrap();
        assert!(got.len() < all.len() && all.starts_with(&got));
    }

    #[tokio::test]
    async fn a_socket_takes_no_file_and_stays() {
        let (server, there, here) = server(&[]).await;
        fs::write(there.join("file"), "there").unwrap();
        let out = here.join("out");
        let _listener = UnixListener::bind(&out).unwrap();
        let url = format!("{}files/file", server.url);
        let refused = server.run(&["recv", "--force", &url, text(&out)]).await;
        refused.expect(1, "out is a socket, which takes no file");
        assert!(fs::symlink_metadata(&out).unwrap().file_type().is_socket());
    }

    #[tokio::test]
    async fn force_replaces_the_file_that_a_link_leads_to_and_the_link_stays() {
        let (server, there, here) = server(&[]).await;
        fs::write(there.join("file"), noise(300_000)).unwrap();
        let (sub, out) = (here.join("sub"), here.join("out"));
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("old"), "old").unwrap();
        symlink("sub/old", &out).unwrap();
        let url = format!("{}files/file", server.url);
        server.run(&["recv", &url, text(&out)]).await.expect(1, "out is there already");
        server.run(&["recv", "--force", &url, text(&out)]).await.expect(0, "received");
        assert_eq!(fs::read_link(&out).unwrap(), Path::new("sub/old"));
        assert_same(&sub.join("old"), &there.join("file"));
        assert_eq!(fs::read_dir(&sub).unwrap().count(), 1, "the partial file has gone");

        fs::remove_file(sub.join("old")).unwrap();
        let refused = server.run(&["recv", "--force", &url, text(&out)]).await;
        refused.expect(1, "out is a link that cannot be followed");
        assert_eq!(fs::read_link(&out).unwrap(), Path::new("sub/old"));
        assert_eq!(fs::read_dir(&sub).unwrap().count(), 0);
    }
    #[tokio::test]
    async fn a_partial_file_that_is_a_link_is_touched_on_neither_side() {
        let (server, there, here) = server(&["--writable"]).await;
        fs::write(there.join("file"), "there").unwrap();
        fs::write(here.join("precious"), "the").unwrap();
        fs::write(there.join("precious"), "the").unwrap();
        fs::hard_link(here.join("precious"), here.join("hard.h2conn-part")).unwrap();
        symlink("precious", here.join("soft.h2conn-part")).unwrap();
        fs::hard_link(there.join("precious"), there.join("hard.h2conn-part")).unwrap();
        symlink("precious", there.join("soft.h2conn-part")).unwrap();
        let file = there.join("file");
        for (name, why) in [
            ("hard", "hard.h2conn-part is there under 2 names (hard links)"),
            ("soft", "soft.h2conn-part is there and no plain file, but a symbolic link"),
        ] {
            let url = format!("{}files/file", server.url);
            server.run(&["recv", &url, text(&here.join(name))]).await.expect(1, why);
            let url = format!("{}files/{name}", server.url);
            server.run(&["send", text(&file), &url]).await.expect(4, why);
            assert!(!here.join(name).exists() && !there.join(name).exists());
        }
        for side in [&here, &there] {
            assert_eq!(fs::read_to_string(side.join("precious")).unwrap(), "the");
            assert!(fs::symlink_metadata(side.join("soft.h2conn-part")).unwrap().is_symlink());
            assert!(side.join("hard.h2conn-part").exists());
        }
    }
    #[tokio::test]
    async fn names_of_up_to_255_bytes_are_resumed_on_both_sides() {
        let (server, there, here) = server(&["--writable"]).await;
        let file = here.join("file");
        fs::write(&file, noise(8 << 20)).unwrap();
        for name in ["x".repeat(244), "x".repeat(255), format!("{}.gz", "ü".repeat(126))] {
            let (theirs, back) = (there.join(&name), here.join(&name));
            let cut = relay(&server.url, Trouble::Cut(5 << 20)).await;
            let sent = server.run(&["send", text(&file), &format!("{cut}files/{name}")]).await;
            sent.expect(5, "h2conn: ");
            let url = format!("{}files/{name}", server.url);
            // The first transfer has the name until the server has noticed the cut.
            let again = ["send", "--reconnect", text(&file), &url];
            server.run(&again).await.expect(0, "that were there");
            assert_same(&file, &theirs);

            let cut = relay(&server.url, Trouble::Cut(5 << 20)).await;
            let received = server.run(&["recv", &format!("{cut}files/{name}"), text(&back)]).await;
            received.expect(5, "h2conn: ");
            server.run(&["recv", &url, text(&back)]).await.expect(0, "that were there");
            assert_same(&file, &back);
            fs::remove_file(&theirs).unwrap();
            fs::remove_file(&back).unwrap();
        }
        assert_eq!(fs::read_dir(&here).unwrap().count(), 1, "no partial file is left");
        // The server refuses the name before all bytes have arrived.
        let name = "x".repeat(256);
        let url = format!("{}files/{name}", server.url);
        server.run(&["send", text(&file), &url]).await.expect(4, "404: x");
        let url = format!("{}files/file", server.url);
        server.run(&["recv", &url, text(&here.join(name))]).await.expect(1, "cannot look at ");
    }
    #[tokio::test]
    async fn a_directory_a_pipe_and_a_device_are_not_sent() {
        let (server, there, here) = server(&["--writable"]).await;
        let pipe = here.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let url = format!("{}files/file", server.url);
        for (path, why) in [
            (text(&here), "it is a directory, and no plain file; send an archive of it"),
            (text(&pipe), "it is a pipe, and no plain file; `h2conn connect` sends"),
            ("/dev/null", "it is a device, and no plain file; `h2conn connect` sends"),
        ] {
            server.run(&["send", path, &url]).await.expect(1, why);
        }
        assert!(!there.join("file").exists());
    }

    /// The system claims that this file has 0 bytes.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_file_whose_size_is_not_known_is_not_sent_as_an_empty_one() {
        let why = "it has another size than the system says";
        let (server, there, here) = server(&["--writable"]).await;
        let url = format!("{}files/status", server.url);
        server.run(&["send", "/proc/self/status", &url]).await.expect(1, why);
        assert!(!there.join("status").exists());
        // A file that is really empty is sent.
        fs::write(here.join("empty"), "").unwrap();
        server.run(&["send", text(&here.join("empty")), &url]).await.expect(0, "sent ");

        let server = crate::served::Server::start(&["--files", "/proc/self"]).await;
        let url = format!("{}files/status", server.url);
        server.run(&["recv", &url, text(&here.join("out"))]).await.expect(4, why);
        assert!(!here.join("out").exists());
    }
}
