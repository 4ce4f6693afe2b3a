//! When the final writes fail, the disk stays unbootable.
//! Successful ones are tested in `write`.
use super::super::testing::image;
use super::super::testing::{MIB, TestDisk};
use super::commit;
use crate::disk::buffer::Buffer;
use crate::disk::device::Device;
use crate::disk::layout::{self, HEAD_BYTES};
use crate::disk::writer::Held;

fn held(image: &[u8], disk: &Device) -> Held {
    let mut head = Buffer::new();
    head.append(image);
    let disk = layout::Disk {
        bytes: disk.bytes(),
        sector: disk.sector(),
    };
    let layout =
        layout::plan(&image[..HEAD_BYTES], &disk, Some(&[1; 1 << 20]), None).expect("it fits");
    Held {
        head,
        tail: Vec::new(),
        tail_at: disk.bytes - MIB,
        image_bytes: image.len() as u64,
        layout,
    }
}

#[test]
fn a_table_is_complete_or_not_there() {
    let image = image::gpt(16 * MIB, 512);
    let disk = TestDisk::dirty(32 * MIB, 512);
    let device = disk.open();
    let mut broken = held(&image, &device);
    // The last part of the backup does not fit onto the disk: everything before it is written by then.
    broken.layout.backup[1].0 = 32 * MIB + 512;
    let error = commit(&device, broken, Some(&[1; 1 << 20])).expect_err("it cannot be written");
    assert!(
        format!("{error:#}").contains("making the disk bootable: writing 512 bytes at 33554944"),
        "{error:#}"
    );
    drop(device);
    disk.assert_does_not_boot();

    let device = disk.open();
    commit(&device, held(&image, &device), Some(&[1; 1 << 20])).expect("nothing is wrong");
    drop(device);
    disk.assert_sgdisk_agrees();
    assert_eq!(
        disk.content()[30 * MIB as usize..31 * MIB as usize],
        [1; 1 << 20]
    );
}
