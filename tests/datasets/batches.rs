//! What stands in a batch, value by value.

use burn::backend::Flex;
use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::{Mapper, MapperDataset, PartialDataset};
use burn_cht::data::{
    Augment, EpochBatcher, ImageBatch, ImageBatcher, ImageDataset, ImageItem, ImageShape, ImageSource,
    Images, Normalisation,
};

type B = Flex;

/// `count` images of 2 channels, 4 x 4, no two pixels of an image alike and none black.
fn images(count: usize) -> ImageDataset {
    let shape = ImageShape::new(2, 4, 4);
    let pixels = (0..count * 32).map(|at| (1 + (at * 7) % 251) as u8).collect();
    ImageDataset::new(Images::new(shape, pixels, (0..count).map(|at| (at % 3) as u8).collect(), 3).unwrap())
}

fn normalisation() -> Normalisation {
    Normalisation::new(&[0.25, 0.5], &[0.5, 0.125]).unwrap()
}

fn batcher() -> ImageBatcher {
    ImageBatcher::new(ImageShape::new(2, 4, 4), &normalisation()).unwrap()
}

fn normalised(channel: usize, pixel: u8) -> f32 {
    ((f64::from(pixel) / 255.0 - normalisation().mean()[channel]) / normalisation().std()[channel]) as f32
}

fn values(batch: &ImageBatch<B>) -> Vec<f32> {
    batch.images.to_data().to_vec().unwrap()
}

fn targets(batch: &ImageBatch<B>) -> Vec<i64> {
    batch.targets.to_data().iter::<i64>().collect()
}

fn items(dataset: &ImageDataset, positions: &[usize]) -> Vec<ImageItem> {
    positions.iter().map(|&at| dataset.get(at).unwrap()).collect()
}

struct Label;

impl Mapper<ImageItem, u8> for Label {
    fn map(&self, item: &ImageItem) -> u8 {
        item.label()
    }
}

#[test]
fn a_batch_holds_the_normalised_values_and_the_labels_of_its_items() {
    let dataset = images(5);
    let batch: ImageBatch<B> = batcher().batch(items(&dataset, &[4, 0, 2]), &Default::default());
    assert_eq!(batch.images.dims(), [3, 32]);
    assert_eq!(targets(&batch), [1, 0, 2]);
    let expected = items(&dataset, &[4, 0, 2])
        .iter()
        .flat_map(|item| {
            item.pixels().iter().enumerate().map(|(at, &x)| normalised(at / 16, x)).collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    assert_eq!(values(&batch), expected);
}

#[test]
fn normalised_by_its_own_measure_a_data_set_has_mean_zero_and_variance_one() {
    let dataset = images(7);
    let batcher = ImageBatcher::new(dataset.shape(), &Normalisation::measure(&dataset).unwrap()).unwrap();
    let batch: ImageBatch<B> = batcher.batch(dataset.items().collect(), &Default::default());
    for channel in 0..2 {
        let of_channel =
            values(&batch).chunks_exact(16).skip(channel).step_by(2).flatten().copied().collect::<Vec<_>>();
        assert_eq!(of_channel.len(), 7 * 16);
        let mean = |of: &dyn Fn(f64) -> f64| {
            of_channel.iter().map(|&x| of(x.into())).sum::<f64>() / of_channel.len() as f64
        };
        assert!(mean(&|x| x).abs() < 1e-6);
        assert!((mean(&|x| x * x) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_normalisation_of_other_channels_is_refused() {
    let error =
        ImageBatcher::new(ImageShape::new(3, 32, 32), &Normalisation::mnist()).unwrap_err().to_string();
    assert_eq!(error, "`channels of the normalisation` is 1; allowed: 3, the channels of images of 3x32x32");
}

#[test]
#[should_panic(expected = "an image of another shape")]
fn an_image_of_another_shape_is_a_bug_of_the_caller() {
    let other = ImageDataset::new(Images::new(ImageShape::new(1, 4, 8), vec![0; 32], vec![0], 1).unwrap());
    let _: ImageBatch<B> = batcher().batch(items(&other, &[0]), &Default::default());
}

#[test]
fn an_augmented_image_depends_on_seed_epoch_and_image_but_not_on_its_batch() {
    let dataset = images(40);
    let row = |seed, epoch, positions: &[usize], at: usize| {
        let batcher = batcher().augmented(Augment { padding: 2, flip: true }, seed);
        let batch: ImageBatch<B> =
            batcher.batch_in_epoch(items(&dataset, positions), epoch, &Default::default());
        values(&batch)[at * 32..(at + 1) * 32].to_vec()
    };
    let all = (0..40).collect::<Vec<_>>();
    for image in 0..40 {
        assert_eq!(row(1, 3, &all, image), row(1, 3, &[39 - image, image], 1));
    }
    let subset = dataset.subset(&[8, 9]).unwrap();
    let in_subset: ImageBatch<B> = batcher().augmented(Augment { padding: 2, flip: true }, 1).batch_in_epoch(
        items(&subset, &[1]),
        3,
        &Default::default(),
    );
    assert_eq!(values(&in_subset), row(1, 3, &all, 9));

    let changed = |seed, epoch| {
        (0..40).filter(|&image| row(seed, epoch, &all, image) != row(1, 3, &all, image)).count()
    };
    // One of 50 variations is drawn: another draw repeats it now and then.
    assert!(changed(1, 4) > 30 && changed(2, 3) > 30);
}

#[test]
fn an_augmented_image_shows_pixels_of_the_original_at_one_shift_and_black_elsewhere() {
    let dataset = images(1);
    let original = dataset.get(0).unwrap().pixels().to_vec();
    let batcher = batcher().augmented(Augment { padding: 1, flip: false }, 5);
    for epoch in 0..50 {
        let batch: ImageBatch<B> = batcher.batch_in_epoch(items(&dataset, &[0]), epoch, &Default::default());
        let found = values(&batch);
        let shifted = |down: isize, right: isize| {
            let value = |at: usize| {
                let (row, column) = ((at % 16 / 4) as isize + down, (at % 4) as isize + right);
                let inside = (0..4).contains(&row) && (0..4).contains(&column);
                let from = || at / 16 * 16 + (row * 4 + column) as usize;
                normalised(at / 16, if inside { original[from()] } else { 0 })
            };
            (0..32).map(value).collect::<Vec<_>>()
        };
        let shifts = (-1..=1).flat_map(|down| (-1..=1).map(move |right| (down, right)));
        assert_eq!(shifts.filter(|&(down, right)| shifted(down, right) == found).count(), 1);
    }
}

#[test]
fn without_padding_and_flip_an_augmented_batch_is_the_plain_one() {
    let dataset = images(6);
    let plain: ImageBatch<B> = batcher().batch(dataset.items().collect(), &Default::default());
    let batcher = batcher().augmented(Augment::default(), 1);
    let augmented: ImageBatch<B> = batcher.batch_in_epoch(dataset.items().collect(), 9, &Default::default());
    assert_eq!(values(&augmented), values(&plain));
}

#[test]
fn the_transforms_of_burn_apply_to_images() {
    let part = PartialDataset::new(images(9), 4, 7);
    assert_eq!((0..3).map(|at| part.get(at).unwrap().index()).collect::<Vec<_>>(), [4, 5, 6]);
    let labels = MapperDataset::new(part, Label);
    assert_eq!((0..3).map(|at| labels.get(at).unwrap()).collect::<Vec<_>>(), [1, 2, 0]);
}

#[test]
fn a_task_feeds_every_training_image_shuffled_and_every_test_image_in_order() {
    let task = ImageSource::Mnist5k.load(None).unwrap();
    let device = Default::default();
    let train = task.train_loader::<B>(32, 7, &device).unwrap();
    let mut sizes = Vec::new();
    let mut counts = [0; 10];
    for batch in train.iter() {
        sizes.push(batch.images.dims()[0]);
        targets(&batch).iter().for_each(|&digit| counts[digit as usize] += 1);
    }
    assert_eq!((sizes, counts), (vec![32; 125], [400; 10]));

    let test = task.test_loader::<B>(300, &device).unwrap();
    let batches = test.iter().collect::<Vec<_>>();
    assert_eq!(batches.iter().map(|batch| batch.images.dims()[0]).collect::<Vec<_>>(), [300, 300, 300, 100]);
    let labels = task.test.items().map(|item| i64::from(item.label())).collect::<Vec<_>>();
    assert_eq!(batches.iter().flat_map(targets).collect::<Vec<_>>(), labels);
}

/// Needs `datasets/fetch.sh mnist`, `datasets/fetch.sh fashion-mnist` and a CIFAR-10: run with `--ignored`.
#[test]
#[ignore = "needs the data sets that are fetched"]
fn the_published_constants_are_those_of_the_fetched_data_sets() {
    // Published to four decimals. CIFAR-10 may be there as JPEG, which takes some of the contrast.
    for (source, tolerance) in
        [(ImageSource::Mnist, 5e-5), (ImageSource::FashionMnist, 5e-5), (ImageSource::Cifar10, 3e-3)]
    {
        let task = source.load(None).unwrap();
        assert_eq!(task.test.items().len(), 10_000);
        let measured = Normalisation::measure(&task.train).unwrap();
        let constants = task.normalisation.mean().iter().chain(task.normalisation.std());
        for (constant, measured) in constants.zip(measured.mean().iter().chain(measured.std())) {
            assert!((constant - measured).abs() < tolerance, "{source}: {constant}, measured {measured}");
        }
    }
}
