"""Labels as people and other tools write them: in folders, beside files, in listings; never the number of a part."""

import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import as_json, in_folder, in_zip, pictures

CHUNKS = ["00000/img00000000.png", "00000/img00000001.png", "00001/img00001000.png", "00001/img00001001.png"]
STYLEGAN = as_json({"labels": [[name, i % 2 * 3] for i, name in enumerate(CHUNKS)]})
FLAT = pictures(["0.png", "1.png", "2.png"])
CATS = pictures(["cat/0.png", "cat/1.png", "dog/2.png"])
PER_CLASS = [f"{label:05d}/00000_{i:05d}.png" for label in range(3) for i in range(2)]  # as of GTSRB


def of(*names: str) -> dict[str, bytes]:
    return pictures(names)


FOLDERS = [
    Case("StyleGAN's zip", in_zip(pictures(CHUNKS), {"dataset.json": STYLEGAN}), taken={"0": 2, "3": 2}, says=["taken from dataset.json"]),
    Case("StyleGAN's folder", in_folder(pictures(CHUNKS), {"dataset.json": STYLEGAN}), taken={"0": 2, "3": 2}),
    Case("StyleGAN's zip below a folder", in_zip(pictures(f"x/{n}" for n in CHUNKS), {"x/dataset.json": STYLEGAN}), taken={"0": 2, "3": 2}),
    Case("StyleGAN's zip without labels", in_zip(pictures(CHUNKS), {"dataset.json": '{"labels": null}'}), taken={None: 4}, says=["there are no labels"]),
    Case("StyleGAN's zip without dataset.json", in_zip(pictures(CHUNKS)), taken={None: 4}, says=["00000 to 00001 are taken as parts"]),
    Case("dataset.json with vectors", in_folder(pictures(CHUNKS), {"dataset.json": as_json({"labels": [[n, [0.5] * 25] for n in CHUNKS]})}), refused="vector of 25 numbers"),
    Case("dataset.json with one-hot vectors", in_folder(pictures(CHUNKS), {"dataset.json": as_json({"labels": [[n, [0, 1.0]] for n in CHUNKS]})}), taken={"1": 4}),
    Case("dataset.json that lacks a file", in_folder(pictures([*CHUNKS, "00001/img00001002.png"]), {"dataset.json": STYLEGAN}), refused="no label for 1 of 5 files .*/img00001002"),
    Case("dataset.json of something else", in_folder(CATS, {"dataset.json": '{"name": "mine"}'}), taken={"cat": 2, "dog": 1}),
    Case("FFHQ's folders", in_folder(of("00000/00000.png", "00000/00999.png", "01000/01000.png", "02000/02001.png")), taken={None: 4}, says=["taken as parts"]),
    Case("img2dataset's folders", in_folder(of("00000/000000000.png", "00000/000000003.png", "00001/000010001.png"), {"00000/000000000.json": "{}", "00000/000000000.txt": "a cat"}), taken={None: 3}, says=["taken as parts"]),
    Case("folders called part", in_folder(of("part_1/0.png", "part_2/0.png")), taken={None: 2}, says=["taken as parts"]),
    Case("folders called part, as classes", in_folder(of("part_1/0.png", "part_2/0.png")), options=["--labels=folders"], taken={"part_1": 1, "part_2": 1}),
    Case("parts in class folders", in_folder(of("cat/part1/0.png", "cat/part2/1.png", "dog/part1/2.png")), taken={"cat": 2, "dog": 1}),
    Case("NIH's folders", in_folder(of("images_001/images/0.png", "images_002/images/1.png")), taken={None: 2}),
    Case("HAM10000", in_folder(of("HAM_part_1/ISIC_7.png", "HAM_part_2/ISIC_9.png"), {"HAM_metadata.csv": "image_id,dx\nISIC_7,nv\nISIC_9,mel\n"}), refused="HAM_metadata.csv has no column of labels that is known"),
    Case("HAM10000, with its column", in_folder(of("HAM_part_1/ISIC_7.png", "HAM_part_2/ISIC_9.png"), {"HAM_metadata.csv": "image_id,dx\nISIC_7,nv\nISIC_9,mel\n"}), options=["--label_column=dx"], taken={"nv": 1, "mel": 1}),
    Case("pictures and masks", in_folder(of("images/0.png", "masks/0.png")), refused="images and masks, which belong together"),
    Case("pictures and masks, one taken", in_folder(of("images/0.png", "masks/0.png")), options=["--split=images"], taken={None: 1}),
    Case("plain numbers through all folders", in_folder(of("0/0.png", "0/1.png", "1/2.png", "1/3.png")), taken={"0": 2, "1": 2}, says=["taken as classes, and .* --labels none"]),
    Case("folders by the hash", in_folder(of(*(f"{h}/{h}f00ba4.png" for h in ("0a", "1b", "2c", "ff")))), taken={None: 4}),
    Case("folders by the last digits", in_folder(of("0001/77001.png", "0002/5002.png", "0999/12999.png")), taken={None: 3}),
    Case("MNIST's folders", in_folder(of("0/1.png", "0/21.png", "1/3.png", "9/4.png")), taken={"0": 2, "1": 1, "9": 1}),
    Case("GTSRB's folders", in_folder(pictures(PER_CLASS)), taken={"00000": 2, "00001": 2, "00002": 2}, says=["00000 to 00002 are taken as classes"]),
    Case("numbers through all folders", in_folder(of("00/0.png", "00/1.png", "01/2.png", "01/3.png")), refused="--labels folders if they are classes"),
    Case("WordNet's folders", in_folder(of("n01440764/n01440764_10026.png", "n01443537/n01443537_2.png")), taken={"n01440764": 1, "n01443537": 1}),
    Case("train and test", in_folder(of("train/cat/0.png", "train/dog/1.png", "test/cat/2.png")), refused="--split train"),
    Case("train and test, one taken", in_folder(of("train/cat/0.png", "train/dog/1.png", "test/cat/2.png")), options=["--split=train"], taken={"cat": 1, "dog": 1}),
    Case("a picture beside class folders", in_folder(CATS, of("preview.png")), refused="1 images beside the class folders, such as preview.png"),
    Case("a picture beside class folders, left out", in_folder(CATS, of("preview.png")), options=["--bad=skip"], taken={"cat": 2, "dog": 1}, says=["left out 1 images beside"]),
    Case("no labels are wanted", in_folder(CATS), options=["--labels=none"], taken={None: 3}),
]  # fmt: skip

BESIDE = [
    Case("metadata.csv", in_folder(FLAT, {"metadata.csv": "file_name,label\n0.png,cat\n1.png,dog\n2.png,cat\n"}), taken={"cat": 2, "dog": 1}, says=["taken from metadata.csv"]),
    Case("metadata.jsonl in each folder", in_folder(of("a/0.png", "b/1.png"), {f"{f}/metadata.jsonl": as_json({"file_name": f"{i}.png", "label": 1 - i}) for i, f in enumerate("ab")}), taken={"0": 1, "1": 1}),
    Case("metadata.csv in each split", in_folder(of("test/0.png", "train/0.png"), {f"{f}/metadata.csv": f"file_name,label\n0.png,{f}\n" for f in ("test", "train")}), options=["--split=test"], taken={"test": 1}, never=["train/metadata"]),
    Case("metadata.csv of two minds", in_folder(of("a/0.png", "b/1.png"), {"metadata.csv": "file_name,label\na/0.png,cat\nb/1.png,dog\n", "a/metadata.csv": "file_name,label\n0.png,cow\n"}), refused="a/0.png is labelled 'cat', and 'cow' in another metadata file"),
    Case("one table of both splits", in_folder(of("test/0.png", "test/1.png", "train/0.png", "train/1.png"), {"labels.csv": "path,label\ntrain/0.png,a\ntrain/1.png,b\ntest/0.png,b\ntest/1.png,c\n"}), options=["--split=train"], taken={"a": 1, "b": 1}),
    Case("a table of each split", in_folder(of("test/0.png", "test/1.png", "train/0.png", "train/1.png"), {"train_labels.csv": "file,label\n0.png,a\n1.png,b\n", "test_labels.csv": "file,label\n0.png,c\n1.png,d\n"}), options=["--split=test"], taken={"c": 1, "d": 1}),
    Case("a table of the other split", in_folder(of("test/0.png", "test/1.png", "train/0.png", "train/1.png"), {"train.csv": "file,label\n0.png,a\n1.png,b\n"}), options=["--split=test"], taken={None: 2}, says=["train.csv is called as that of another split"]),
    Case("CelebA's partition", in_folder(FLAT, {"list_eval_partition.txt": "0.png 0\n1.png 1\n2.png 2\n"}), refused="list_eval_partition.txt is called as what tells training from test"),
    Case("a split of other classes", in_folder(FLAT, {"train_split.csv": "file,label\n0.png,cat\n1.png,dog\n2.png,cat\n"}), taken={"cat": 2, "dog": 1}),
    Case("metadata.csv that is none", in_folder(CATS, {"metadata.csv": "key,value\nauthor,me\n"}), refused="no column 'path'.*--labels folders, or none, leaves it unread"),
    Case("metadata.json of something else", in_folder(CATS, {"metadata.json": '{"author": "me"}'}), taken={"cat": 2, "dog": 1}),
    Case("a label in the second .json alone", in_folder(FLAT, {"0.json": "{}", "1.json": '{"label": 1}', "2.json": '{"label": 0}'}), refused="0.png: no label, and others have one"),
    Case("metadata.csv with captions", in_folder(CATS, {"metadata.csv": "file_name,text\ncat/0.png,one\ncat/1.png,two\ndog/2.png,three"}), taken={"cat": 2, "dog": 1}, says=["not used: 'text'"]),
    Case("metadata.csv that lacks a file", in_folder(FLAT, {"metadata.csv": "file_name,label\n0.png,cat\n"}), refused="no label for 2 of 3 files"),
    Case("labels.csv", in_folder(FLAT, {"labels.csv": "id,breed\n0,pug\n1,pug\n2,beagle\n"}), taken={"pug": 2, "beagle": 1}, says=["taken from labels.csv"]),
    Case("train.csv above the pictures", in_folder(pictures(["train/0.png", "train/1.png"]), {"train.csv": "image_id,label\n0.png,3\n1.png,0\n"}), taken={"3": 1, "0": 1}),
    Case("GTSRB's test", in_folder(FLAT, {"GT-final_test.csv": "Filename;Width;ClassId\n0.png;8;16\n1.png;8;1\n2.png;8;1\n"}), taken={"16": 1, "1": 2}),
    Case("Roboflow's classes", in_folder(FLAT, {"_classes.csv": "filename, cat, dog\n0.png, 1, 0\n1.png, 0, 1\n2.png, 1, 0\n"}), taken={"cat": 2, "dog": 1}),
    Case("Roboflow's boxes", in_folder(FLAT, {"_annotations.csv": "filename,width,height,class,xmin\n0.png,8,8,cat,1\n0.png,8,8,dog,2\n1.png,8,8,cat,1\n2.png,8,8,cat,1\n"}), refused="labelled 'cat' and 'dog'"),
    Case("COCO", in_folder(FLAT, {"_annotations.coco.json": '{"images": [{"id": 1, "file_name": "0.png"}], "annotations": []}'}), refused="as COCO does"),
    Case("labels.txt", in_folder(FLAT, {"labels.txt": "0.png 1\n1.png 0\n2.png 1\n"}), taken={"0": 1, "1": 2}),
    Case("labels.json", in_folder(FLAT, {"labels.json": '{"0.png": "cat", "1.png": "dog", "2.png": "cat"}'}), taken={"cat": 2, "dog": 1}),
    Case("labels.csv for chunks", in_folder(pictures(CHUNKS), {"labels.csv": "file,label\n" + "".join(f"{n},{i}\n" for i, n in enumerate(CHUNKS))}), taken=dict.fromkeys("0123", 1)),
    Case("labels.csv without labels", in_folder(FLAT, {"labels.csv": "file,score\n0.png,0.5\n1.png,0.1\n2.png,0.2\n"}), refused="--label_column"),
    Case("labels.csv beside class folders", in_folder(CATS, {"labels.csv": "file,label\ncat/0.png,1\ncat/1.png,1\ndog/2.png,1\n"}), taken={"cat": 2, "dog": 1}, says=["labels.csv was not read"]),
    Case("labels.csv instead of class folders", in_folder(CATS, {"labels.csv": "file,label\ncat/0.png,1\ncat/1.png,1\ndog/2.png,0\n"}), options=["--labels=labels.csv"], taken={"0": 1, "1": 2}),
    Case("a label file that is not there", in_folder(CATS), options=["--labels=label.csv"], refused="no file of that name"),
    Case("labels.json with labels", in_folder(FLAT, {"labels.json": as_json({"labels": {"0.png": 4, "1.png": 0, "2.png": 0}})}), taken={"4": 1, "0": 2}),
    Case("metadata.parquet", in_folder(FLAT, {"metadata.parquet": "PAR1"}), refused="give hf:FOLDER"),
    Case("two label files", in_folder(FLAT, {f"{n}.csv": "file,label\n0.png,0\n1.png,1\n2.png,0\n" for n in ("labels", "train")}), refused="labels in labels.csv, train.csv: say which"),
    Case("unpacked shards", in_folder(FLAT, {f"{i}.cls": str(i % 2) for i in range(3)}), taken={"0": 2, "1": 1}),
    Case("unpacked shards without one label", in_folder(FLAT, {"0.cls": "1"}), refused="no label, and others have one"),
    Case("a log of the training beside pictures", in_folder(FLAT, {"train_log.csv": "step,loss\n1,0.3\n"}), taken={None: 3}, says=["train_log.csv .* was not read: train_log.csv has no column"]),
    Case("names of classes beside pictures", in_folder(FLAT, {"labels.txt": "cat\ndog\n"}), taken={None: 3}, says=["labels.txt .* was not read"]),
    Case("img2dataset's .json", in_folder(FLAT, {f"{i}.json": as_json({"label": i % 2, "caption": "a"}) for i in range(3)}), taken={"0": 2, "1": 1}, says=["'label' of the .json files"]),
    Case("img2dataset's .json without labels", in_folder(FLAT, {f"{i}.json": as_json({"caption": "a"}) for i in range(3)}), taken={None: 3}),
    Case("ImageNet's val.txt", in_folder(FLAT, {"val.txt": "0.png 65\n1.png 970\n2.png 65\n"}), taken={"65": 2, "970": 1}),
    Case("a list of prices beside pictures", in_folder(FLAT, {"prices.csv": "item,price\nbread,3\n"}), taken={None: 3}),
]  # fmt: skip


@pytest.mark.parametrize("case", [*FOLDERS, *BESIDE], ids=str)
def test_labels(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
