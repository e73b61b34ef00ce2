//! How much memory a session takes: the device model has little, and several viewers may come.

use rfb::{Config, Picture, Session};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The largest screen there is.
const SIZE: (u16, u16) = (1920, 1200);
/// What a viewer may take, in bytes: 1 MiB, of which its socket's buffers have 68 KiB.
const MOST: usize = (1024 - 68) << 10;
/// As the stub domain's server does it: pixels that are encoded in one go, and bytes that wait while more is.
const PIXELS_AT_ONCE: usize = 64 << 10;
const WAITING_MAX: usize = 16 << 10;

/// A picture that nothing packs well, or that everything does.
struct Noise(u32);

impl Picture for Noise {
    fn size(&self) -> (u16, u16) {
        SIZE
    }

    fn read(&self, x: u16, y: u16, row: &mut [u32]) {
        for (pixel, x) in row.iter_mut().zip(x..) {
            *pixel = (u32::from(y) << 16 | u32::from(x)).wrapping_mul(0x9e37_79b9).wrapping_mul(self.0) >> 7;
        }
    }
}

#[test]
fn a_viewer_of_the_largest_screen_takes_little() {
    // The encodings that viewers ask for first, and Tight with pictures of photographs.
    let lists: [&[i32]; 5] = [&[16, 1], &[7, 1], &[7, -26, -247], &[6], &[5]];
    let _profiler = dhat::Profiler::builder().testing().build();
    for list in lists {
        let before = dhat::HeapStats::get().curr_bytes;
        let (mut session, mut out) = (session(list), Vec::new());
        let mut most = 0;
        for noise in [1, 0] {
            session.damage(0, 0, SIZE.0, SIZE.1);
            session.receive(&[3, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &mut |_| {}).unwrap();
            while session.has_output() {
                while session.has_output() && out.len() < WAITING_MAX {
                    session.produce(&Noise(noise), PIXELS_AT_ONCE, &mut out);
                }
                most = most.max(dhat::HeapStats::get().curr_bytes - before);
                out.clear();
            }
        }
        println!("encodings {list:?}: {} KiB", most >> 10);
        assert!(most <= MOST, "a viewer with encodings {list:?} takes {} KiB", most >> 10);
    }
}

fn session(list: &[i32]) -> Session {
    let mut session = Session::new(&Config { name: "memory".into(), password: None }, [0; 16]);
    let mut input = b"RFB 003.008\n\x01\x01\x02\x00".to_vec();
    input.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    list.iter().for_each(|number| input.extend(number.to_be_bytes()));
    session.receive(&input, &mut |_| {}).unwrap();
    session
}
